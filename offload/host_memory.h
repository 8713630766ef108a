// What memory this machine, its container and this process have and use. Linux only; cgroup v1 and v2. What cannot be read counts as not there. `root`: where /proc and /sys are looked for.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace leafcutter::offload {

struct HostMemory {
  std::uint64_t total = 0;  // of the machine
  std::uint64_t available =
      0;  // min of MemAvailable and every enclosing cgroup's limit less what cannot be reclaimed; page cache counts as free
  std::optional<std::uint64_t> cgroup_limit;  // the tightest one
  std::optional<std::uint64_t> locked_limit;  // RLIMIT_MEMLOCK; none: unlimited
  std::string limited_by;                     // "machine" or the cgroup's path
};
HostMemory host_memory(const std::string& root = {});

// Memory charged to this process now, as a cgroup with this process alone in it would count what cannot be given back: anonymous + shared + kernel (page tables, stacks), and file pages mapped and touched.
std::uint64_t charged_bytes(const std::string& root = {});

struct PeakMemory {
  std::uint64_t bytes = 0;
  std::string source;  // "cgroup" when the process is alone in its memory group and the group counts, else "VmHWM"
};
PeakMemory peak_memory(const std::string& root = {});
// VmHWM begins anew with what the process has now; a group's peak stays. Where the system refuses, nothing changes.
void restart_peak();

}  // namespace leafcutter::offload
