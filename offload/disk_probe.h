// How fast a folder's disk reads, measured now: what `doctor` shows and the planner's prediction starts from.
#pragma once

#include <cstdint>
#include <string>

#include "offload/read_shape.h"

namespace leafcutter::offload {

struct DiskProbe {
  ReadShape reads;           // what this disk wants: as many bytes in flight as it takes to be fast
  double gb_s = 0;           // with these, as the pager reads
  double single_gb_s = 0;    // one of these reads at a time
  double small_read_s = 0;   // one read of 32 KiB somewhere, as rows of an embedding are read
  bool direct = false;       // O_DIRECT is taken by this file system
  const char* backend = "";  // "io_uring" or "threads"
};

// Writes a temporary file of `bytes` into `folder`, reads it back as the pager does, removes it. Some seconds at most. Throws Error(io).
DiskProbe probe_disk(const std::string& folder, std::uint64_t bytes);

// The same for a file that is there: reads at most `bytes` of it.
DiskProbe probe_file(const std::string& path, std::uint64_t bytes);

// Does the kernel (and the container) allow io_uring?
bool io_uring_works();

}  // namespace leafcutter::offload
