// The number formats of the key/value cache.
#pragma once

#include <cstddef>
#include <cstdint>

namespace leafcutter::kernels {

constexpr std::size_t kKvGroup = 32;  // values of a row that share a scale (q8)

// q8: groups of 32 int8 with one f32 scale each, scales behind the codes; head_dim padded to 32
enum class KvType : std::uint8_t { f32, f16, q8 };

}  // namespace leafcutter::kernels
