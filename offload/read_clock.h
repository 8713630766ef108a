// Reads from disk on the clock of a device that has one of its own: what the pager (pager.h) does in real time, played beside it, so that both know the same chunks to be there in the same order.
#pragma once

#include <cstddef>
#include <vector>

#include "offload/read_ahead.h"

namespace leafcutter::offload {

// What every step reads, in order, and what each chunk costs to check: bytes that are hashed once (chunk_sizes.h). The pager's ring and staging.
struct HostReads {
  std::vector<ReadAhead::Chunk> order;
  std::vector<double> check_bytes;
  std::size_t ring_bytes = 0, staging_slots = 0;
};

// Called beside the calls of the pager with the same names. Chunks are taken in order, over and over.
class ReadClock {
 public:
  virtual ~ReadClock() = default;
  virtual bool is_ready() const = 0;               // the next chunk has been read and checked
  virtual void acquire() = 0;                      // takes it; the host waits until then
  virtual void release(std::size_t position) = 0;  // in the order
  virtual void reset() = 0;
};

}  // namespace leafcutter::offload
