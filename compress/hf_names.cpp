#include "compress/hf_names.h"

#include <charconv>

#include "compress/model_description.h"

namespace leafcutter::compress {
namespace {

struct Name {
  std::string_view text;
  TensorRole role;
};

constexpr Name kModelNames[] = {
    {"embed_tokens.weight", TensorRole::embedding}, {"norm.weight", TensorRole::output_norm}, {"lm_head.weight", TensorRole::head}};

constexpr Name kLayerNames[] = {
    {"input_layernorm.weight", TensorRole::attention_norm},  {"post_attention_layernorm.weight", TensorRole::feed_forward_norm},
    {"self_attn.q_proj.weight", TensorRole::attention_q},    {"self_attn.k_proj.weight", TensorRole::attention_k},
    {"self_attn.v_proj.weight", TensorRole::attention_v},    {"self_attn.o_proj.weight", TensorRole::attention_out},
    {"self_attn.q_proj.bias", TensorRole::attention_q_bias}, {"self_attn.k_proj.bias", TensorRole::attention_k_bias},
    {"self_attn.v_proj.bias", TensorRole::attention_v_bias}, {"self_attn.o_proj.bias", TensorRole::attention_out_bias},
    {"mlp.gate_proj.weight", TensorRole::feed_forward_gate}, {"mlp.up_proj.weight", TensorRole::feed_forward_up},
    {"mlp.down_proj.weight", TensorRole::feed_forward_down}, {"mlp.gate_proj.bias", TensorRole::feed_forward_gate_bias},
    {"mlp.up_proj.bias", TensorRole::feed_forward_up_bias},  {"mlp.down_proj.bias", TensorRole::feed_forward_down_bias},
};

}  // namespace

std::optional<TensorPlace> llama_hf_place(std::string_view name) {
  if (name.starts_with("model.")) name.remove_prefix(6);
  for (const Name& known : kModelNames)
    if (name == known.text) return TensorPlace{known.role, 0};
  if (!name.starts_with("layers.")) return std::nullopt;
  name.remove_prefix(7);
  std::uint32_t layer = 0;
  const auto [after, problem] = std::from_chars(name.data(), name.data() + name.size(), layer);
  if (problem != std::errc{} || after == name.data() + name.size() || *after != '.' || layer >= ModelLimits::kLayers) return std::nullopt;
  name.remove_prefix(static_cast<std::size_t>(after - name.data()) + 1);
  for (const Name& known : kLayerNames)
    if (name == known.text) return TensorPlace{known.role, layer};
  return std::nullopt;
}

bool is_ignored_hf_buffer(std::string_view name) {
  return name.ends_with(".rotary_emb.inv_freq") || name.ends_with(".attn.masked_bias") || name.ends_with(".position_ids");
}

}  // namespace leafcutter::compress
