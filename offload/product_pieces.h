// How products are cut for threads that take pieces as they come: the runtime cuts so, and the probe of rates measures what it will do.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace leafcutter::offload {

inline constexpr std::uint64_t kLeastPieceBytes = 128 << 10, kMostPieceBytes = 512 << 10;

// Bytes of weights of one piece of a product of `bytes` for a team of `threads` >= 1: four pieces for each thread, so that they end at nearly the same time, but not so small that the processor's look-ahead
// begins anew all the time (128 KiB reads 8 % less than 256 KiB, docs/benchmarks.md), nor so large that a thread that loses its core holds much.
constexpr std::uint64_t piece_bytes(std::uint64_t bytes, std::size_t threads) {
  constexpr std::uint64_t kPiecesPerThread = 4;
  return std::clamp(bytes / (kPiecesPerThread * threads), kLeastPieceBytes, kMostPieceBytes);
}

}  // namespace leafcutter::offload
