// The functions that gate a feed-forward part: values = act(values) * up.
#pragma once

#include <cstdint>

namespace leafcutter::kernels {

enum class Gate : std::uint8_t { silu, gelu_erf, gelu_tanh };

}  // namespace leafcutter::kernels
