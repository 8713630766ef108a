// How a disk is read. Disks share their rate out among the reads that are in flight: enough bytes must be asked for to keep it busy, and no more, or the chunk that is needed next waits for others.
#pragma once

#include <cstddef>

namespace leafcutter::offload {

// What may be asked for.
constexpr std::size_t kLeastRead = 4096, kMostRead = std::size_t{4} << 20, kMostReadsInFlight = 64;

struct ReadShape {
  std::size_t bytes = std::size_t{1} << 20;  // of one read; a multiple of 4096
  std::size_t in_flight = 16;
};

}  // namespace leafcutter::offload
