#include "tests/support/ptx_launch/ptx_launch.h"

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "kernels/cuda/embedded_ptx.h"
#include "tests/support/ptx/parser.h"

namespace leafcutter::ptx {
namespace {

struct Interval {
  std::uint64_t begin, end;
  bool write;
};

std::vector<Interval> intervals_of(kernels::DeviceKernel kernel, const void* arguments) {
  std::vector<offload::DeviceAccess> accesses;
  offload::device_kernel(kernel).accesses(arguments, accesses);
  std::vector<Interval> intervals;
  for (const offload::DeviceAccess& access : accesses)
    for (std::uint64_t row = 0; row < access.rows; row++) {
      const std::uint64_t begin = access.begin.value + row * access.stride;
      intervals.push_back({begin, begin + access.row_bytes, access.write});
    }
  if (kernel == kernels::DeviceKernel::attend) {
    const auto& attend = *static_cast<const kernels::AttendLaunch*>(arguments);
    const auto* table = reinterpret_cast<const kernels::DeviceAttentionRow*>(attend.table.value);
    for (std::uint64_t row = 0; row < attend.rows; row++) {
      intervals.push_back({table[row].slots.value, table[row].slots.value + table[row].visible * sizeof(std::uint32_t), false});
      if (attend.bias_by_distance) intervals.push_back({table[row].segments.value, table[row].segments.value + table[row].visible, false});
    }
  }
  return intervals;
}

// Overlapping ones become one, which may be written where any of them may; those side by side of one kind, too: rows without gaps are one buffer.
std::vector<Interval> joined(std::vector<Interval> intervals) {
  std::sort(intervals.begin(), intervals.end(), [](const Interval& a, const Interval& b) { return a.begin < b.begin; });
  std::vector<Interval> result;
  for (const Interval& next : intervals) {
    if (next.begin == next.end) continue;
    if (!result.empty() && (next.begin < result.back().end || (next.begin == result.back().end && next.write == result.back().write))) {
      result.back().end = std::max(result.back().end, next.end);
      result.back().write |= next.write;
    } else {
      result.push_back(next);
    }
  }
  return result;
}

}  // namespace

const Module& embedded_module() {
  static const Module module = [] {
    if (gpu::embedded_ptx().empty()) throw std::runtime_error(std::string(gpu::embedded_ptx_note()));
    return parse(gpu::embedded_ptx());
  }();
  return module;
}

EmbeddedRun run_embedded(kernels::DeviceKernel kernel, const void* arguments, std::uint64_t most_blocks, std::uint64_t side_by_side) {
  const Module& module = embedded_module();
  EmbeddedRun run;
  run.shape = gpu::launch_shape(kernel, arguments);
  if (run.shape.empty()) return run;
  run.blocks = std::uint64_t{run.shape.grid[0]} * run.shape.grid[1] * run.shape.grid[2];
  GlobalMemory memory;
  for (const Interval& interval : joined(intervals_of(kernel, arguments))) {
    memory.add_at("at " + std::to_string(interval.begin), interval.begin, interval.end - interval.begin, interval.write);
    run.listed_bytes += interval.end - interval.begin;
  }
  Launch launch;
  launch.grid = {run.shape.grid[0], run.shape.grid[1], run.shape.grid[2]};
  launch.threads = run.shape.threads;
  launch.shared_bytes = run.shape.shared_bytes;
  if (most_blocks > 0 && most_blocks < run.blocks) {
    const std::uint64_t places = (most_blocks + side_by_side - 1) / side_by_side;
    for (std::uint64_t i = 0; i < places; i++)
      for (std::uint64_t j = 0; j < side_by_side; j++) launch.blocks.push_back(i * (run.blocks / side_by_side) / places * side_by_side + j);
  }
  const auto* bytes = static_cast<const std::byte*>(arguments);
  run.outcome = ptx::run(module, module.kernel(run.shape.function), launch, {bytes, offload::device_kernel(kernel).argument_bytes}, memory);
  return run;
}

}  // namespace leafcutter::ptx
