// A LLaMA of chosen sizes for tests that need weights in bulk rather than a model that says something.
#pragma once

#include <cstdint>

#include "compress/shapes.h"

namespace leafcutter::test {

struct SmallLlama {
  std::uint32_t layers = 6, dim = 256, heads = 8, kv_heads = 2, ff_width = 1024, vocab_size = 300;
};

inline compress::ModelDescription describe(const SmallLlama& sizes) {
  compress::ModelDescription model = compress::find_shape("llama-1.1b").value();
  model.dim = sizes.dim;
  model.vocab_size = sizes.vocab_size;
  model.context_length = 256;
  model.layers.resize(sizes.layers);
  for (compress::LayerDescription& layer : model.layers) {
    layer.heads = sizes.heads;
    layer.kv_heads = sizes.kv_heads;
    layer.head_dim = sizes.dim / sizes.heads;
    layer.ff_width = sizes.ff_width;
  }
  return model;
}

}  // namespace leafcutter::test
