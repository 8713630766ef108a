#include "compress/cpm_ant_names.h"

#include <charconv>

#include "compress/model_description.h"

namespace leafcutter::compress {
namespace {

struct Name {
  std::string_view text;
  TensorRole role;
};

constexpr Name kModelNames[] = {
    {"input_embedding.weight", TensorRole::embedding},
    {"prompt_embedding.weight", TensorRole::prompt_embedding},
    {"segment_embedding.weight", TensorRole::segment_embedding},
    {"position_bias.relative_attention_bias", TensorRole::position_bias},
    {"encoder.output_layernorm.weight", TensorRole::output_norm},
    {"lm_head.weight", TensorRole::head},
};

constexpr Name kLayerNames[] = {
    {"self_att.layernorm_before_attention.weight", TensorRole::attention_norm},
    {"self_att.self_attention.project_q.weight", TensorRole::attention_q},
    {"self_att.self_attention.project_k.weight", TensorRole::attention_k},
    {"self_att.self_attention.project_v.weight", TensorRole::attention_v},
    {"self_att.self_attention.attention_out.weight", TensorRole::attention_out},
    {"ffn.layernorm_before_ffn.weight", TensorRole::feed_forward_norm},
    {"ffn.ffn.w_in.w_0.weight", TensorRole::feed_forward_gate},
    {"ffn.ffn.w_in.w_1.weight", TensorRole::feed_forward_up},
    {"ffn.ffn.w_out.weight", TensorRole::feed_forward_down},
};

}  // namespace

std::optional<TensorPlace> cpm_ant_place(std::string_view name) {
  constexpr std::string_view kPrefix = "cpmant.", kLayers = "encoder.layers.";
  if (name.starts_with(kPrefix)) name.remove_prefix(kPrefix.size());
  for (const Name& known : kModelNames)
    if (name == known.text) return TensorPlace{known.role, 0};
  if (!name.starts_with(kLayers)) return std::nullopt;
  name.remove_prefix(kLayers.size());
  std::uint32_t layer = 0;
  const auto [after, problem] = std::from_chars(name.data(), name.data() + name.size(), layer);
  if (problem != std::errc{} || after == name.data() + name.size() || *after != '.' || layer >= ModelLimits::kLayers) return std::nullopt;
  name.remove_prefix(static_cast<std::size_t>(after - name.data()) + 1);
  for (const Name& known : kLayerNames)
    if (name == known.text) return TensorPlace{known.role, layer};
  return std::nullopt;
}

}  // namespace leafcutter::compress
