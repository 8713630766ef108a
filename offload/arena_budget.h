// What a budget of host memory is charged with beside the arenas themselves. All sums stop at 2^64 - 1 instead of running over.
#pragma once

#include <cstdint>
#include <limits>

#include "base/checked.h"

namespace leafcutter::offload {

// What is not there yet when the plan is made: pages of code and libraries not touched so far, growth of the heap, stacks of threads and their decoders, the kernel's side of the reads.
constexpr std::uint64_t kProcessMargin = std::uint64_t{5} << 20;
// Page tables of arenas that get no huge pages: 8 bytes for 4096, and a quarter more.
constexpr std::uint64_t kBytesPerTableByte = 400;
// Nine chunks of 4 MiB: two held, one being checked, 16 MiB of reads in flight, the rest waiting to be used. More gained nothing on any disk measured (docs/benchmarks.md).
constexpr std::uint64_t kRingWish = std::uint64_t{36} << 20;
constexpr std::uint64_t kRingShare = 4;  // the ring gets at most a quarter of what weights may have

inline std::uint64_t saturating_sum(std::uint64_t a, std::uint64_t b) {
  return checked_add(a, b).value_or(std::numeric_limits<std::uint64_t>::max());
}

inline std::uint64_t with_tables(std::uint64_t arena) { return saturating_sum(arena, arena / kBytesPerTableByte); }

// The largest arena that fits `room` together with its tables.
inline std::uint64_t without_tables(std::uint64_t room) {
  std::uint64_t arena = room - room / (kBytesPerTableByte + 1);
  while (arena > 0 && with_tables(arena) > room) arena--;  // once at the most: rounding
  return arena;
}

}  // namespace leafcutter::offload
