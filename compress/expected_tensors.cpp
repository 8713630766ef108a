#include "compress/expected_tensors.h"

namespace leafcutter::compress {
namespace {

using enum TensorRole;

void add_matrices(const LayerDescription& layer, std::uint32_t number, std::uint64_t dim, std::vector<ExpectedTensor>& out) {
  if (layer.has_attention) {
    const std::uint64_t queries = std::uint64_t{layer.heads} * layer.head_dim, keys = std::uint64_t{layer.kv_heads} * layer.head_dim;
    out.push_back({attention_q, number, queries, dim});
    out.push_back({attention_k, number, keys, dim});
    out.push_back({attention_v, number, keys, dim});
    out.push_back({attention_out, number, dim, queries});
  }
  if (layer.has_feed_forward) {
    out.push_back({feed_forward_gate, number, layer.ff_width, dim});
    out.push_back({feed_forward_up, number, layer.ff_width, dim});
    out.push_back({feed_forward_down, number, dim, layer.ff_width});
  }
}

void add_vectors(const LayerDescription& layer, std::uint32_t number, std::uint64_t dim, std::vector<ExpectedTensor>& out) {
  constexpr bool kOptional = true;
  if (layer.has_attention) {
    const std::uint64_t queries = std::uint64_t{layer.heads} * layer.head_dim, keys = std::uint64_t{layer.kv_heads} * layer.head_dim;
    out.push_back({attention_norm, number, 1, dim});
    out.push_back({attention_q_bias, number, 1, queries, kOptional});
    out.push_back({attention_k_bias, number, 1, keys, kOptional});
    out.push_back({attention_v_bias, number, 1, keys, kOptional});
    out.push_back({attention_out_bias, number, 1, dim, kOptional});
  }
  if (layer.has_feed_forward) {
    out.push_back({feed_forward_norm, number, 1, dim});
    out.push_back({feed_forward_gate_bias, number, 1, layer.ff_width, kOptional});
    out.push_back({feed_forward_up_bias, number, 1, layer.ff_width, kOptional});
    out.push_back({feed_forward_down_bias, number, 1, dim, kOptional});
  }
}

}  // namespace

std::vector<ExpectedTensor> expected_tensors(const ModelDescription& model) {
  std::vector<ExpectedTensor> out;
  const SegmentBiasDescription& bias = model.segment_bias;
  const bool segments = model.position == PositionKind::segment_relative_bias;
  const auto layers = static_cast<std::uint32_t>(model.layers.size());
  out.push_back({embedding, 0, model.vocab_size, model.dim});
  if (segments) {
    out.push_back({prompt_embedding, 0, std::uint64_t{bias.prompt_types} * bias.prompt_length, model.dim});
    out.push_back({segment_embedding, 0, bias.segment_types, model.dim});
  }
  for (std::uint32_t i = 0; i < layers; i++) add_matrices(model.layers[i], i, model.dim, out);
  if (!model.tied_head) out.push_back({head, 0, model.vocab_size, model.dim});
  for (std::uint32_t i = 0; i < layers; i++) add_vectors(model.layers[i], i, model.dim, out);
  out.push_back({output_norm, 0, 1, model.dim});
  if (segments) out.push_back({position_bias, 0, std::uint64_t{bias.segment_types} * bias.segment_types + bias.buckets, bias.columns});
  return out;
}

std::uint64_t tensor_order(TensorRole role, std::uint32_t layer) {
  const auto part = [role]() -> std::uint64_t {
    switch (module_of(role)) {
      case ModuleKind::embedding:
        return 0;
      case ModuleKind::attention:
      case ModuleKind::feed_forward:
        return 1;
      case ModuleKind::head:
        return 2;
      case ModuleKind::vectors:
        return is_layer_role(role) ? 3 : 4;
    }
    return 5;
  };
  return part() << 56 | std::uint64_t{layer} << 16 | static_cast<std::uint16_t>(role);
}

}  // namespace leafcutter::compress
