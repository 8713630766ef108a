// The number formats of the key/value cache.
#pragma once

#include <cstdint>

namespace leafcutter::kernels {

// q8: groups of 32 int8 with one f32 scale each, scales behind the codes; head_dim padded to 32
enum class KvType : std::uint8_t { f32, f16, q8 };

}  // namespace leafcutter::kernels
