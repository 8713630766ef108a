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
  std::ifstream in(path, std::ios::binary);
  std::string text;
  char part[4096];  // files of /proc do not say their size
  do {
    in.read(part, sizeof(part));
    text.append(part, static_cast<std::size_t>(in.gcount()));
  } while (in);
  return text;
}

// The names of one version's files.
struct CgroupNames {
  const char* root;
  const char* limits[2];  // the kernel kills above the first; it throttles above the second, which is as good as a limit
  const char* usage;
  const char* peak;
  const char* inactive_file;  // in memory.stat
  const char* active_file;
};
constexpr CgroupNames kVersion1 = {"/sys/fs/cgroup/memory", {"memory.limit_in_bytes", nullptr},
                                   "memory.usage_in_bytes", "memory.max_usage_in_bytes",
                                   "total_inactive_file",   "total_active_file"};
constexpr CgroupNames kVersion2 = {"/sys/fs/cgroup", {"memory.max", "memory.high"}, "memory.current", "memory.peak", "inactive_file",
                                   "active_file"};

struct MemoryGroup {
  std::string root;
  const CgroupNames* names = nullptr;  // null: this process is in no memory group that can be seen
  std::string path;                    // below the mounted root, "" for that one

  std::string folder() const { return names->root + path; }
  std::string text(const char* file) const { return text_of(root + folder() + "/" + file); }

  std::optional<std::uint64_t> limit() const {
    std::optional<std::uint64_t> least;
    for (const char* file : names->limits)
      if (file)
        if (const auto found = limit_of(text(file)); found && (!least || *found < *least)) least = found;
    return least;
  }

  // Used and not to be had back: page cache is given up before anyone is killed.
  std::uint64_t kept() const {
    const std::uint64_t usage = limit_of(text(names->usage)).value_or(0);
    const std::string stat = text("memory.stat");
    const std::uint64_t cache = number_of(stat, names->inactive_file).value_or(0) + number_of(stat, names->active_file).value_or(0);
    return usage - std::min(usage, cache);
  }

  bool go_to_parent() {
    const std::size_t slash = path.rfind('/');
    if (slash == std::string::npos) return false;
    path.resize(slash);
    return true;
  }
};

MemoryGroup memory_group(const std::string& root) {
  for (const CgroupLine& line : cgroup_lines(text_of(root + "/proc/self/cgroup"))) {
    const bool v1 = std::find(line.controllers.begin(), line.controllers.end(), "memory") != line.controllers.end();
    const bool v2 = line.controllers.empty();
    if (!v1 && !v2) continue;
    // In a container the path of the host may not be there: the process' own group is then mounted as the root.
    for (const std::string& path : {line.path == "/" ? std::string() : line.path, std::string()}) {
      const MemoryGroup group{root, v1 ? &kVersion1 : &kVersion2, path};
      if (!group.text(group.names->usage).empty()) return group;
    }
  }
  return {};
}

// Version 2 keeps no figures for the machine's own root, so that a group with a figure is a real one; version 1's root has them, and no limit.
bool of_some_processes(const MemoryGroup& group) { return !group.path.empty() || group.names == &kVersion2 || group.limit(); }

}  // namespace

HostMemory host_memory(const std::string& root) {
  HostMemory memory;
  const std::string info = text_of(root + "/proc/meminfo");
  memory.total = number_of(info, "MemTotal").value_or(0);
  memory.available = std::min(memory.total, number_of(info, "MemAvailable").value_or(number_of(info, "MemFree").value_or(memory.total)));
  memory.limited_by = "machine";
  MemoryGroup group = memory_group(root);
  for (bool more = group.names != nullptr; more; more = group.go_to_parent()) {
    const std::optional<std::uint64_t> limit = group.limit();
    if (!limit || *limit >= memory.total) continue;
    memory.cgroup_limit = std::min(memory.cgroup_limit.value_or(*limit), *limit);
    const std::uint64_t left = *limit - std::min(*limit, group.kept());
    if (left < memory.available) {
      memory.available = left;
      memory.limited_by = group.folder();
    }
  }
  rlimit locked{};
  if (getrlimit(RLIMIT_MEMLOCK, &locked) == 0 && locked.rlim_cur != RLIM_INFINITY) memory.locked_limit = locked.rlim_cur;
  return memory;
}

std::uint64_t charged_bytes(const std::string& root) {
  const std::string status = text_of(root + "/proc/self/status");
  std::uint64_t bytes = 0;
  for (const char* key : {"RssAnon", "RssFile", "RssShmem", "VmPTE"}) bytes += number_of(status, key).value_or(0);
  constexpr std::uint64_t kKernelPart = 32 << 10;  // of a thread: its stack and task in the kernel
  return bytes + std::min<std::uint64_t>(number_of(status, "Threads").value_or(1), 1 << 16) * kKernelPart;
}

PeakMemory peak_memory(const std::string& root) {
  const MemoryGroup group = memory_group(root);
  if (group.names && of_some_processes(group) && group.text("cgroup.procs") == std::to_string(getpid()) + "\n")
    if (const auto peak = limit_of(group.text(group.names->peak))) return {*peak, "cgroup"};
  return {number_of(text_of(root + "/proc/self/status"), "VmHWM").value_or(0), "VmHWM"};
}

void restart_peak() { std::ofstream("/proc/self/clear_refs") << "5"; }

}  // namespace leafcutter::offload
