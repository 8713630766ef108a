// The instruction sets of read_probe.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace leafcutter::kernels {

std::uint64_t read_all_portable(std::span<const std::byte> bytes);
std::uint64_t read_all_avx2(std::span<const std::byte> bytes);
std::uint64_t read_all_avx512(std::span<const std::byte> bytes);

}  // namespace leafcutter::kernels
