// A small CPM-Ant with random weights and layers that all differ: parts missing, one layer empty, odd widths, heads with columns of their own.
#pragma once

#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <string>

#include "compress/expected_tensors.h"
#include "tests/runtime/test_models.h"
#include "tests/support/memory_file.h"

namespace leafcutter::testing {

inline compress::ModelDescription ant_description() {
  compress::ModelDescription model;
  model.architecture = "cpm-ant";
  model.dim = 96;
  model.vocab_size = 210;
  model.context_length = 512;
  model.norm_epsilon = 1e-6f;
  model.position = compress::PositionKind::segment_relative_bias;
  model.activation = compress::ActivationKind::gelu_erf;
  model.tied_head = true;
  model.end_ids = {7};
  model.begin_id = 6;
  model.segment_bias = {3, 6, 4, 32, 128, 5};
  model.layers.resize(6);
  const auto set = [&](std::size_t i, std::uint32_t heads, std::uint32_t ff, std::vector<std::uint16_t> columns) {
    compress::LayerDescription& layer = model.layers[i];
    layer.has_attention = heads > 0;
    layer.has_feed_forward = ff > 0;
    layer.heads = layer.kv_heads = heads;
    layer.head_dim = heads > 0 ? 24 : 0;
    layer.ff_width = ff;
    layer.bias_columns = std::move(columns);
  };
  set(0, 0, 351, {});
  set(1, 5, 0, {});
  set(2, 0, 0, {});
  set(3, 3, 200, {4, 0, 2});
  set(4, 5, 333, {});
  set(5, 2, 7, {1, 3});
  return model;
}

inline std::string random_ant_to(const std::string& target, const compress::CompressOptions& options) {
  compress::CheckpointSource source;
  source.model = ant_description();
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  std::vector<std::byte> content;
  for (const compress::ExpectedTensor& expected : compress::expected_tensors(source.model)) {
    if (expected.optional) continue;
    compress::SourceTensor tensor;
    tensor.role = expected.role;
    tensor.layer = expected.layer;
    tensor.name = compress::role_name(expected.role);
    tensor.offset = content.size();
    tensor.type = quant::SourceType::f32;
    tensor.rows = expected.rows;
    tensor.k = expected.k;
    const bool is_vector = compress::is_vector_role(expected.role);
    // As CPM-Live stores them: weights of order 1, divided by the root of their input width.
    if (!is_vector) tensor.divisor = std::sqrt(static_cast<float>(expected.k));
    for (std::uint64_t i = 0; i < expected.rows * expected.k; i++) {
      const float value = is_vector && expected.role != compress::TensorRole::position_bias ? 1 + 0.2f * normal(random) : normal(random);
      content.resize(content.size() + sizeof value);
      std::memcpy(content.data() + content.size() - sizeof value, &value, sizeof value);
    }
    source.tensors.push_back(tensor);
  }
  source.files.push_back(std::make_shared<test::MemoryFile>(std::move(content)));
  const auto file = create_file(target);
  ThreadTeam team(2);
  compress::compress_model(source, options, *file, team, {});
  return target;
}

}  // namespace leafcutter::testing
