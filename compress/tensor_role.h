// What a tensor is for, independent of the names that checkpoints give it. Ids are stored in files and never reused.
#pragma once

#include <cstdint>

namespace leafcutter::compress {

enum class TensorRole : std::uint16_t {
  embedding = 0,
  head = 1,
  output_norm = 2,
  attention_norm = 10,
  attention_q = 11,
  attention_k = 12,
  attention_v = 13,
  attention_out = 14,
  attention_q_bias = 15,
  attention_k_bias = 16,
  attention_v_bias = 17,
  attention_out_bias = 18,
  feed_forward_norm = 30,
  feed_forward_gate = 31,
  feed_forward_up = 32,
  feed_forward_down = 33,
  feed_forward_gate_bias = 34,
  feed_forward_up_bias = 35,
  feed_forward_down_bias = 36,
  prompt_embedding = 50,   // CPM-Ant
  segment_embedding = 51,  // CPM-Ant
  position_bias = 52,      // CPM-Ant
};

const char* role_name(TensorRole role);  // "attention_q"; "?" when not known
bool is_known_role(std::uint16_t role);
bool is_layer_role(TensorRole role);   // belongs to a layer
bool is_vector_role(TensorRole role);  // norms and biases: plain f32, always resident

enum class ModuleKind : std::uint8_t { embedding = 0, attention = 1, feed_forward = 2, head = 3, vectors = 4 };
const char* module_kind_name(ModuleKind kind);
ModuleKind module_of(TensorRole role);  // vectors for vector roles

}  // namespace leafcutter::compress
