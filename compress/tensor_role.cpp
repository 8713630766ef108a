#include "compress/tensor_role.h"

#include <algorithm>
#include <iterator>

namespace leafcutter::compress {
namespace {

struct RoleRow {
  TensorRole role;
  const char* name;
  bool of_layer;
  ModuleKind module;
};

constexpr bool kOfLayer = true, kOfModel = false;

constexpr RoleRow kRoles[] = {
    {TensorRole::embedding, "embedding", kOfModel, ModuleKind::embedding},
    {TensorRole::head, "head", kOfModel, ModuleKind::head},
    {TensorRole::output_norm, "output_norm", kOfModel, ModuleKind::vectors},
    {TensorRole::attention_norm, "attention_norm", kOfLayer, ModuleKind::vectors},
    {TensorRole::attention_q, "attention_q", kOfLayer, ModuleKind::attention},
    {TensorRole::attention_k, "attention_k", kOfLayer, ModuleKind::attention},
    {TensorRole::attention_v, "attention_v", kOfLayer, ModuleKind::attention},
    {TensorRole::attention_out, "attention_out", kOfLayer, ModuleKind::attention},
    {TensorRole::attention_q_bias, "attention_q_bias", kOfLayer, ModuleKind::vectors},
    {TensorRole::attention_k_bias, "attention_k_bias", kOfLayer, ModuleKind::vectors},
    {TensorRole::attention_v_bias, "attention_v_bias", kOfLayer, ModuleKind::vectors},
    {TensorRole::attention_out_bias, "attention_out_bias", kOfLayer, ModuleKind::vectors},
    {TensorRole::feed_forward_norm, "feed_forward_norm", kOfLayer, ModuleKind::vectors},
    {TensorRole::feed_forward_gate, "feed_forward_gate", kOfLayer, ModuleKind::feed_forward},
    {TensorRole::feed_forward_up, "feed_forward_up", kOfLayer, ModuleKind::feed_forward},
    {TensorRole::feed_forward_down, "feed_forward_down", kOfLayer, ModuleKind::feed_forward},
    {TensorRole::feed_forward_gate_bias, "feed_forward_gate_bias", kOfLayer, ModuleKind::vectors},
    {TensorRole::feed_forward_up_bias, "feed_forward_up_bias", kOfLayer, ModuleKind::vectors},
    {TensorRole::feed_forward_down_bias, "feed_forward_down_bias", kOfLayer, ModuleKind::vectors},
    {TensorRole::prompt_embedding, "prompt_embedding", kOfModel, ModuleKind::embedding},
    {TensorRole::segment_embedding, "segment_embedding", kOfModel, ModuleKind::embedding},
    {TensorRole::position_bias, "position_bias", kOfModel, ModuleKind::vectors},
};

const RoleRow* find_role(TensorRole role) {
  const auto row = std::find_if(std::begin(kRoles), std::end(kRoles), [role](const RoleRow& r) { return r.role == role; });
  return row == std::end(kRoles) ? nullptr : row;
}

}  // namespace

const char* role_name(TensorRole role) {
  const RoleRow* row = find_role(role);
  return row ? row->name : "?";
}

bool is_known_role(std::uint16_t role) { return find_role(static_cast<TensorRole>(role)) != nullptr; }

bool is_layer_role(TensorRole role) {
  const RoleRow* row = find_role(role);
  return row && row->of_layer;
}

bool is_vector_role(TensorRole role) { return module_of(role) == ModuleKind::vectors; }

ModuleKind module_of(TensorRole role) {
  const RoleRow* row = find_role(role);
  return row ? row->module : ModuleKind::vectors;
}

const char* module_kind_name(ModuleKind kind) {
  switch (kind) {
    case ModuleKind::embedding:
      return "embedding";
    case ModuleKind::attention:
      return "attention";
    case ModuleKind::feed_forward:
      return "feed_forward";
    case ModuleKind::head:
      return "head";
    case ModuleKind::vectors:
      return "vectors";
  }
  return "?";
}

}  // namespace leafcutter::compress
