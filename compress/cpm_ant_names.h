// Names of tensors in CPM-Ant checkpoints: CPM-Live's and, with or without the prefix "cpmant.", Hugging Face's; "module." may stand before all.
#pragma once

#include <optional>
#include <string_view>

#include "compress/tensor_names.h"

namespace leafcutter::compress {

// "encoder.layers.3.ffn.ffn.w_in.w_0.weight" -> feed_forward_gate of layer 3. None: no tensor of the model.
std::optional<TensorPlace> cpm_ant_place(std::string_view name);

}  // namespace leafcutter::compress
