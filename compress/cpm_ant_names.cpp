#include "compress/cpm_ant_names.h"

namespace leafcutter::compress {
namespace {

constexpr TensorName kModelNames[] = {
    {"input_embedding.weight", TensorRole::embedding},
    {"prompt_embedding.weight", TensorRole::prompt_embedding},
    {"segment_embedding.weight", TensorRole::segment_embedding},
    {"position_bias.relative_attention_bias", TensorRole::position_bias},
    {"encoder.output_layernorm.weight", TensorRole::output_norm},
    {"lm_head.weight", TensorRole::head},
};

constexpr TensorName kLayerNames[] = {
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

constexpr TensorNames kNames{kModelNames, "encoder.layers.", kLayerNames};

}  // namespace

std::optional<TensorPlace> cpm_ant_place(std::string_view name) {
  return kNames.find(without_prefix(without_prefix(name, kDataParallelPrefix), "cpmant."));
}

}  // namespace leafcutter::compress
