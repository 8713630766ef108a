#include "tests/support/ptx/cost_model.h"

#include <algorithm>
#include <stdexcept>

namespace leafcutter::ptx {

const Cost::Part& Cost::limit() const {
  return *std::max_element(parts.begin(), parts.end(), [](const Part& a, const Part& b) { return a.seconds < b.seconds; });
}

double Cost::part(std::string_view name) const {
  for (const Part& part : parts)
    if (part.name == name) return part.seconds;
  throw std::out_of_range(std::string(name));
}

Cost cost_of(const Counters& counters, std::uint64_t blocks, double dram_bytes, const CardModel& card) {
  // Blocks are handed out whole: the multiprocessor with the most of them decides.
  const std::uint64_t most = (blocks + card.multiprocessors - 1) / card.multiprocessors;
  const double per_block = 1 / (static_cast<double>(counters.blocks) * card.clock_hz);
  const auto seconds = [&](std::uint64_t events, double per_clock) {
    return static_cast<double>(events) * per_block * static_cast<double>(most) / per_clock;
  };
  const auto unit = [&](Unit which, double lanes) { return seconds(counters.of(which), lanes / kWarpLanes); };
  Cost cost;
  cost.parts = {{{"DRAM", dram_bytes / card.usable_dram()},
                 {"second-level cache", seconds(counters.global_loads.sectors + counters.global_stores.sectors, 1)},
                 {"load/store unit", seconds(counters.load_store_passes, 1)},
                 {"issue", seconds(counters.issue_slots, 4)},
                 {"arithmetic", seconds(counters.of(Unit::arithmetic) + counters.of(Unit::dot), 4)},
                 {"shifts and comparisons", unit(Unit::slow_arithmetic, 64)},
                 {"conversions and special functions", unit(Unit::conversion, 32)},
                 {"f64", unit(Unit::double_width, 4)},
                 {"f16", unit(Unit::half_float, 2)}}};
  return cost;
}

}  // namespace leafcutter::ptx
