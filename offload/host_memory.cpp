#include "offload/host_memory.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "offload/system_text.h"

namespace leafcutter::offload {
namespace {

std::string text_of(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

// The names of one version's files.
struct CgroupNames {
  const char* root;
  const char* limit;
  const char* usage;
  const char* peak;
  const char* inactive_file;  // in memory.stat
  const char* active_file;
};
constexpr CgroupNames kVersion1 = {"/sys/fs/cgroup/memory",     "memory.limit_in_bytes", "memory.usage_in_bytes",
                                   "memory.max_usage_in_bytes", "total_inactive_file",   "total_active_file"};
constexpr CgroupNames kVersion2 = {"/sys/fs/cgroup", "memory.max", "memory.current", "memory.peak", "inactive_file", "active_file"};

struct MemoryGroup {
  const CgroupNames* names = nullptr;  // null: this process is in no memory group that can be seen
  std::string path;                    // below the root, "" for the root itself
  std::string folder() const { return names->root + path; }
};

MemoryGroup memory_group() {
  for (const CgroupLine& line : cgroup_lines(text_of("/proc/self/cgroup"))) {
    const std::string path = line.path == "/" ? std::string() : line.path;
    const bool v1 = std::find(line.controllers.begin(), line.controllers.end(), "memory") != line.controllers.end();
    for (const CgroupNames* names : {&kVersion1, &kVersion2}) {
      if ((names == &kVersion1) != v1 || (names == &kVersion2 && !line.controllers.empty())) continue;
      // In a container the path of the host may not be there: its group is then mounted as the root.
      for (const std::string& seen : {path, std::string()}) {
        const MemoryGroup group{names, seen};
        if (!text_of(group.folder() + "/" + names->usage).empty()) return group;
      }
    }
  }
  return {};
}

}  // namespace

HostMemory host_memory() {
  HostMemory memory;
  const std::string info = text_of("/proc/meminfo");
  memory.total = number_of(info, "MemTotal").value_or(0);
  memory.available = number_of(info, "MemAvailable").value_or(memory.total);
  memory.limited_by = "machine";
  MemoryGroup group = memory_group();
  while (group.names) {
    if (const auto limit = limit_of(text_of(group.folder() + "/" + group.names->limit)); limit && *limit < memory.total) {
      const std::string stat = text_of(group.folder() + "/memory.stat");
      const std::uint64_t cache =
          number_of(stat, group.names->inactive_file).value_or(0) + number_of(stat, group.names->active_file).value_or(0);
      const std::uint64_t usage = limit_of(text_of(group.folder() + "/" + group.names->usage)).value_or(0);
      const std::uint64_t kept = usage - std::min(usage, cache);
      const std::uint64_t room = *limit - std::min(*limit, kept);
      if (!memory.cgroup_limit || *limit < *memory.cgroup_limit) memory.cgroup_limit = *limit;
      if (room < memory.available) {
        memory.available = room;
        memory.limited_by = group.folder();
      }
    }
    const std::size_t slash = group.path.rfind('/');
    if (group.path.empty() || slash == std::string::npos) break;
    group.path.resize(slash);
  }
  rlimit locked{};
  if (getrlimit(RLIMIT_MEMLOCK, &locked) == 0 && locked.rlim_cur != RLIM_INFINITY && locked.rlim_cur < memory.total)
    memory.locked_limit = locked.rlim_cur;
  return memory;
}

std::uint64_t charged_bytes() {
  const std::string status = text_of("/proc/self/status");
  std::uint64_t bytes = 0;
  for (const char* key : {"RssAnon", "RssFile", "RssShmem", "VmPTE"}) bytes += number_of(status, key).value_or(0);
  constexpr std::uint64_t kKernelStack = 32 << 10;  // of a thread: its stack and task in the kernel
  return bytes + number_of(status, "Threads").value_or(1) * kKernelStack;
}

PeakMemory peak_memory() {
  const MemoryGroup group = memory_group();
  if (group.names && !group.path.empty()) {
    const std::string processes = text_of(group.folder() + "/cgroup.procs");
    if (processes == std::to_string(getpid()) + "\n")
      if (const auto peak = limit_of(text_of(group.folder() + "/" + group.names->peak))) return {*peak, "cgroup"};
  }
  return {number_of(text_of("/proc/self/status"), "VmHWM").value_or(0), "VmHWM"};
}

}  // namespace leafcutter::offload
