// The tensors of a model by their place in the block, with kernel, epilogue and bias resolved once at loading.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "compress/leaf_index.h"
#include "kernels/elementwise.h"
#include "kernels/matmul.h"

namespace leafcutter::runtime {

struct Matrix {
  const compress::TensorEntry* tensor = nullptr;
  kernels::Matmul kernel = nullptr;
  bool takes_groups = false;  // its kernel reads int8 rows
  bool decoded = false;       // its strips are turned to floats before `kernel` (of Layout::f32) sees them
  float factor = 1;
  const float* bias = nullptr;
  std::size_t rows() const { return tensor->rows; }
};

struct AttentionWeights {
  const compress::ModuleEntry* module = nullptr;
  const float* norm = nullptr;
  Matrix q, k, v, out;
};

struct FeedForwardWeights {
  const compress::ModuleEntry* module = nullptr;
  const float* norm = nullptr;
  Matrix gate, up, down;
};

struct LayerWeights {
  std::optional<AttentionWeights> attention;
  std::optional<FeedForwardWeights> feed_forward;
};

struct ModelWeights {
  const compress::TensorEntry* embedding = nullptr;
  std::vector<LayerWeights> layers;
  const float* output_norm = nullptr;
  const float* position_bias = nullptr;  // null: none (LLaMA)
  Matrix head;
  const compress::ModuleEntry* head_module = nullptr;
};

// vectors: the blob of the vectors module, which must outlive the result. The index was checked against its description by the reader.
// f32_activations: products of quantized weights are made in floats.
ModelWeights resolve_weights(const compress::LeafIndex& index, std::span<const std::byte> vectors, kernels::Isa isa, bool f32_activations,
                             const std::string& file);

// The kernels' name for a model's activation.
kernels::Gate gate_of(compress::ActivationKind kind);

const compress::ModuleEntry* find_module(const compress::LeafIndex& index, compress::ModuleKind kind, std::uint32_t layer = 0);

}  // namespace leafcutter::runtime
