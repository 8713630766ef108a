#include "compress/hf_names.h"

namespace leafcutter::compress {
namespace {

constexpr TensorName kModelNames[] = {
    {"embed_tokens.weight", TensorRole::embedding}, {"norm.weight", TensorRole::output_norm}, {"lm_head.weight", TensorRole::head}};

constexpr TensorName kLayerNames[] = {
    {"input_layernorm.weight", TensorRole::attention_norm},  {"post_attention_layernorm.weight", TensorRole::feed_forward_norm},
    {"self_attn.q_proj.weight", TensorRole::attention_q},    {"self_attn.k_proj.weight", TensorRole::attention_k},
    {"self_attn.v_proj.weight", TensorRole::attention_v},    {"self_attn.o_proj.weight", TensorRole::attention_out},
    {"self_attn.q_proj.bias", TensorRole::attention_q_bias}, {"self_attn.k_proj.bias", TensorRole::attention_k_bias},
    {"self_attn.v_proj.bias", TensorRole::attention_v_bias}, {"self_attn.o_proj.bias", TensorRole::attention_out_bias},
    {"mlp.gate_proj.weight", TensorRole::feed_forward_gate}, {"mlp.up_proj.weight", TensorRole::feed_forward_up},
    {"mlp.down_proj.weight", TensorRole::feed_forward_down}, {"mlp.gate_proj.bias", TensorRole::feed_forward_gate_bias},
    {"mlp.up_proj.bias", TensorRole::feed_forward_up_bias},  {"mlp.down_proj.bias", TensorRole::feed_forward_down_bias},
};

constexpr TensorNames kNames{kModelNames, "layers.", kLayerNames};

}  // namespace

std::optional<TensorPlace> llama_hf_place(std::string_view name) {
  return kNames.find(without_prefix(without_prefix(name, kDataParallelPrefix), "model."));
}

bool is_ignored_hf_buffer(std::string_view name) {
  return name.ends_with(".rotary_emb.inv_freq") || name.ends_with(".attn.masked_bias") || name.ends_with(".position_ids");
}

}  // namespace leafcutter::compress
