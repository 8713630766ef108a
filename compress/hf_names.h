// Names of tensors in Hugging Face LLaMA checkpoints.
#pragma once

#include <optional>
#include <string_view>

#include "compress/tensor_names.h"

namespace leafcutter::compress {

// "model.layers.3.self_attn.q_proj.weight" -> attention_q of layer 3; the prefix "model." may be missing, and "module." may stand before it. None: no tensor of the model.
std::optional<TensorPlace> llama_hf_place(std::string_view name);

// Buffers that old checkpoints carry along and nobody needs: rotary frequencies.
bool is_ignored_hf_buffer(std::string_view name);

}  // namespace leafcutter::compress
