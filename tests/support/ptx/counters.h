// What a launch would keep busy on a card: instructions by unit, and what each access to memory touches.
//
// A request is one load or store of a warp. Global memory is touched in sectors of 32 bytes; a request is fully coalesced when it touches no more sectors than its bytes fill. Shared memory has 32 banks of
// 4 bytes; a request of 8 (16) bytes a lane is made for each half (quarter) warp, and takes a pass for each further word that a bank has to give.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "tests/support/ptx/module.h"

namespace leafcutter::ptx {

constexpr unsigned kSectorBytes = 32;

// Of one instruction.
struct InstructionCounts {
  std::uint64_t executed = 0;   // by warps
  std::uint64_t lanes = 0;      // by threads
  std::uint64_t divergent = 0;  // by warps of which some lanes were elsewhere
  std::uint64_t sectors = 0;
  std::uint64_t excess_sectors = 0;  // beyond those that the bytes asked for would fill
  std::uint64_t passes = 0;          // of the load/store unit
  std::uint64_t conflicts = 0;       // of them, passes because of banks
};

struct MemoryCounts {
  std::uint64_t requests = 0, sectors = 0, excess_sectors = 0;
  double sectors_per_request() const { return requests == 0 ? 0 : static_cast<double>(sectors) / static_cast<double>(requests); }
};

struct Counters {
  std::uint64_t blocks = 0;
  std::uint64_t warp_instructions = 0, thread_instructions = 0, divergent = 0;
  std::uint64_t issue_slots = 0;
  std::array<std::uint64_t, kUnits> unit_slots{};
  MemoryCounts global_loads, global_stores;
  std::uint64_t shared_requests = 0, bank_conflicts = 0;
  std::uint64_t local_requests = 0;  // of thread-private arrays: spills among them
  std::uint64_t load_store_passes = 0;
  std::uint64_t dram_read_bytes = 0, dram_write_bytes = 0;  // first touches: all later ones are taken to find the second-level cache

  std::uint64_t of(Unit unit) const { return unit_slots[static_cast<std::size_t>(unit)]; }
  std::uint64_t dram_bytes() const { return dram_read_bytes + dram_write_bytes; }
};

// The sum over a kernel's instructions; blocks and DRAM bytes are the caller's.
Counters counters_of(const Kernel& kernel, const std::vector<InstructionCounts>& counts);

}  // namespace leafcutter::ptx
