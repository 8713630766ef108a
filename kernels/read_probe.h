// How fast this machine reads memory, with the widest loads it has: the ceiling of a decode kernel, to set a figure beside.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace leafcutter::kernels {

// Reads every byte once and gives something that depends on all of them. bytes.size() is used up to a multiple of 512; bytes.data() aligned to 64.
std::uint64_t read_all(std::span<const std::byte> bytes);

}  // namespace leafcutter::kernels
