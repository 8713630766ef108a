// A first-order model of a card: a launch takes as long as the part that is kept busy longest, of the instructions and accesses that the interpreter counted, beside the launch itself.
//
// Of one multiprocessor of compute capability 6.1, per clock: 4 warp instructions issued; 128 lanes of plain arithmetic and of dp4a; 64 of shifts, comparisons, bit fields and byte permutations; 32 of conversions
// and special functions; 4 of f64 and of conversions to and from 64 bits; 2 of f16 (the throughput table of the CUDA programming guide); a pass of the load/store unit (128 bytes); a sector from the second-level
// cache (32 bytes: assumed, measurements of others' Pascal cards lie between 22 and 44). DRAM gives 80 % of its peak. Instructions are counted as PTX has them, with first-order weights for those that are several
// instructions of the machine; latencies are taken to be hidden. No card has confirmed any of it.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "tests/support/ptx/counters.h"

namespace leafcutter::ptx {

struct CardModel {
  const char* name;
  unsigned multiprocessors;
  double clock_hz;
  double dram_bytes_per_s;  // peak
  double dram_share;        // of the peak that can be had
  double usable_dram() const { return dram_bytes_per_s * dram_share; }
  double dot_lanes_per_s() const { return multiprocessors * clock_hz * 128; }  // dp4a instructions of a thread
};

constexpr CardModel kGtx1060_6{"gtx1060-6gb", 10, 1.708e9, 192e9, 0.8};
constexpr CardModel kGtx1060_3{"gtx1060-3gb", 9, 1.708e9, 192e9, 0.8};

// From one kernel's end to the next one's full speed, assumed: the launch itself, the first blocks starting and the first loads arriving.
constexpr double kLaunchSeconds = 3e-6;

struct Cost {
  struct Part {
    const char* name;
    double seconds;
  };
  std::array<Part, 9> parts{};
  const Part& limit() const;                               // the longest
  double busy_seconds() const { return limit().seconds; }  // without the launch
  double seconds() const { return kLaunchSeconds + busy_seconds(); }
  double part(std::string_view name) const;                            // seconds; throws std::out_of_range for a name that there is not
  double dram_share() const { return part("DRAM") / busy_seconds(); }  // how near the launch comes to what DRAM allows
};

// counters: of some blocks of a launch, all alike, or of all of them; blocks: how many there are in all. dram_bytes: of the whole launch (Counters::dram_bytes() where all blocks were run).
Cost cost_of(const Counters& counters, std::uint64_t blocks, double dram_bytes, const CardModel& card);

}  // namespace leafcutter::ptx
