// Made-up machines in a folder: /proc and cgroup trees of both versions.
#include "offload/host_memory.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <optional>

#include "base/page_buffer.h"
#include "tests/support/temporary_folder.h"

using namespace leafcutter::offload;

namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20, kGiB = std::uint64_t{1} << 30;

class Machine {
 public:
  Machine() {
    put("/proc/meminfo", "MemTotal:       16777216 kB\nMemFree:         1048576 kB\nMemAvailable:    8388608 kB\n");
    put("/proc/self/status",
        "Name:\tx\nVmHWM:\t  500 kB\nRssAnon:\t  100 kB\nRssFile:\t  20 kB\nRssShmem:\t  3 kB\nVmPTE:\t  4 kB\nThreads:\t5\n");
  }

  Machine& put(const std::string& path, const std::string& text) {
    const std::filesystem::path full = folder_.path() + path;
    std::filesystem::create_directories(full.parent_path());
    std::ofstream(full) << text;
    return *this;
  }
  Machine& put(const std::string& path, std::uint64_t number) { return put(path, std::to_string(number) + "\n"); }

  // A group of version 2 that uses this much, of which `cache` is page cache.
  Machine& group2(const std::string& path, const std::string& max, std::uint64_t used = 0, std::uint64_t cache = 0) {
    const std::string folder = "/sys/fs/cgroup" + path;
    put(folder + "/memory.current", used).put(folder + "/memory.max", max + "\n");
    return put(folder + "/memory.stat",
               "anon 1\ninactive_file " + std::to_string(cache / 2) + "\nactive_file " + std::to_string(cache - cache / 2) + "\n");
  }
  Machine& group1(const std::string& path, std::uint64_t limit, std::uint64_t used = 0, std::uint64_t cache = 0) {
    const std::string folder = "/sys/fs/cgroup/memory" + path;
    put(folder + "/memory.usage_in_bytes", used).put(folder + "/memory.limit_in_bytes", limit);
    // inactive_file without total_ is this group alone, without those below it.
    return put(folder + "/memory.stat",
               "inactive_file 5\nactive_file 5\ntotal_inactive_file " + std::to_string(cache) + "\ntotal_active_file 0\n");
  }

  HostMemory memory() const { return host_memory(folder_.path()); }
  std::string root() const { return folder_.path(); }

 private:
  leafcutter::test::TemporaryFolder folder_;
};

constexpr std::uint64_t kNoLimit1 = 9223372036854771712ull;  // what version 1 says where there is none

}  // namespace

TEST_CASE("without groups the machine is the limit") {
  const HostMemory memory = Machine().memory();
  CHECK(memory.total == 16 * kGiB);
  CHECK(memory.available == 8 * kGiB);
  CHECK_FALSE(memory.cgroup_limit);
  CHECK(memory.limited_by == "machine");
}

TEST_CASE("an old or broken meminfo") {
  Machine machine;
  machine.put("/proc/meminfo", "MemTotal: 1024 kB\nMemFree: 512 kB\n");
  CHECK(machine.memory().available == 512 * 1024);
  machine.put("/proc/meminfo", "MemTotal: 1024 kB\n");
  CHECK(machine.memory().available == 1024 * 1024);
  machine.put("/proc/meminfo", "MemTotal: 1024 kB\nMemAvailable: 99999 kB\n");
  CHECK(machine.memory().available == 1024 * 1024);
  for (const char* garbage : {"", "\n\n", "MemTotal: lots\nMemAvailable: -1 kB\n", "MemTotal"}) {
    machine.put("/proc/meminfo", garbage);
    CHECK(machine.memory().total == 0);
    CHECK(machine.memory().available == 0);
  }
  CHECK(host_memory("/no/such/folder").available == 0);
}

TEST_CASE("version 2: every enclosing group counts, the one that leaves least decides") {
  Machine machine;
  machine.put("/proc/self/cgroup", "0::/a/b/c\n");
  machine.group2("/a/b/c", "max", 500 * kMiB).group2("/a/b", "3221225472", 3 * kGiB - 300 * kMiB, 200 * kMiB).group2("/a", "2147483648");
  const HostMemory memory = machine.memory();
  CHECK(memory.cgroup_limit == 2 * kGiB);  // the tightest
  CHECK(memory.available == 500 * kMiB);   // of 3 GiB, with the page cache given back
  CHECK(memory.limited_by == "/sys/fs/cgroup/a/b");
}

TEST_CASE("version 2: memory.high is a limit too") {
  Machine machine;
  machine.put("/proc/self/cgroup", "0::/a\n").group2("/a", "4294967296", kGiB).put("/sys/fs/cgroup/a/memory.high", 3 * kGiB);
  CHECK(machine.memory().available == 2 * kGiB);
  CHECK(machine.memory().cgroup_limit == 3 * kGiB);
  machine.put("/sys/fs/cgroup/a/memory.high", "max\n");
  CHECK(machine.memory().available == 3 * kGiB);
}

TEST_CASE("limits above the machine, and more used than allowed") {
  Machine machine;
  machine.put("/proc/self/cgroup", "0::/a\n").group2("/a", std::to_string(16 * kGiB));
  CHECK_FALSE(machine.memory().cgroup_limit);
  CHECK(machine.memory().available == 8 * kGiB);
  machine.group2("/a", std::to_string(kGiB), 2 * kGiB);
  CHECK(machine.memory().available == 0);
  CHECK(machine.memory().limited_by == "/sys/fs/cgroup/a");
  machine.group2("/a", std::to_string(kGiB), kMiB, kGiB);  // more cache than use: figures taken at different moments
  CHECK(machine.memory().available == kGiB);
  machine.group2("/a", "0");
  CHECK(machine.memory().available == 0);
}

TEST_CASE("files that are not there, or hold no number") {
  Machine machine;
  machine.put("/proc/self/cgroup", "0::/a\n").put("/sys/fs/cgroup/a/memory.current", kMiB);
  CHECK(machine.memory().limited_by == "machine");
  for (const char* garbage : {"", "banana\n", "-5\n", "99999999999999999999999\n", "1 2 3\n"}) {
    machine.put("/sys/fs/cgroup/a/memory.max", garbage).put("/sys/fs/cgroup/a/memory.high", garbage);
    CHECK(machine.memory().available == 8 * kGiB);
  }
  machine.put("/sys/fs/cgroup/a/memory.max", kGiB);  // no memory.stat: nothing counts as page cache
  CHECK(machine.memory().available == kGiB - kMiB);
  machine.put("/sys/fs/cgroup/a/memory.current", "garbage\n");
  CHECK(machine.memory().available == kGiB);
  for (const char* garbage : {"", "\n", "::", "x", "0:", "5:cpu:/a\n"}) {
    machine.put("/proc/self/cgroup", garbage);
    CHECK(machine.memory().available == 8 * kGiB);
  }
}

TEST_CASE("in a container the group's path is not there, the group is mounted as the root") {
  Machine machine;
  for (const char* path : {"/docker/0123", "/", "/../..", "/a (deleted)"}) {
    machine.put("/proc/self/cgroup", std::string("0::") + path + "\n").group2("", std::to_string(kGiB), 100 * kMiB);
    CHECK(machine.memory().available == kGiB - 100 * kMiB);
    CHECK(machine.memory().limited_by == "/sys/fs/cgroup");
  }
}

TEST_CASE("version 1: nested limits, the cache of the groups below counts as cache") {
  Machine machine;
  machine.put("/proc/self/cgroup", "9:name=systemd:/x\n4:cpu,memory:/a/b\n0::/x\n");
  machine.group1("", kNoLimit1, 10 * kGiB).group1("/a", 2 * kGiB, kGiB, 512 * kMiB).group1("/a/b", kNoLimit1, 3 * kMiB);
  const HostMemory memory = machine.memory();
  CHECK(memory.cgroup_limit == 2 * kGiB);
  CHECK(memory.available == 2 * kGiB - 512 * kMiB);
  CHECK(memory.limited_by == "/sys/fs/cgroup/memory/a");
}

TEST_CASE("both versions mounted: the one that has memory figures") {
  Machine machine;
  machine.put("/proc/self/cgroup", "0::/a\n4:memory:/a\n").group1("/a", kGiB, kMiB);
  CHECK(machine.memory().limited_by == "/sys/fs/cgroup/memory/a");
}

TEST_CASE("what this process is charged with: its pages and 32 KiB of kernel a thread") {
  Machine machine;
  CHECK(charged_bytes(machine.root()) == (100 + 20 + 3 + 4 + 5 * 32) * 1024);
  machine.put("/proc/self/status", "RssAnon: 1 kB\n");
  CHECK(charged_bytes(machine.root()) == (1 + 32) * 1024);
  machine.put("/proc/self/status", "RssAnon: x\nThreads: 99999999999999\n");
  CHECK(charged_bytes(machine.root()) == (std::uint64_t{1} << 16) * 32 * 1024);
  CHECK(charged_bytes() > kMiB);  // this process
  CHECK(charged_bytes() < 64 * kGiB);
}

TEST_CASE("the peak is the group's where this process is alone in it") {
  Machine machine;
  CHECK(peak_memory(machine.root()).bytes == 500 * 1024);
  CHECK(peak_memory(machine.root()).source == "VmHWM");
  machine.put("/proc/self/cgroup", "0::/a\n").group2("/a", "max").put("/sys/fs/cgroup/a/memory.peak", 7 * kMiB);
  CHECK(peak_memory(machine.root()).source == "VmHWM");
  machine.put("/sys/fs/cgroup/a/cgroup.procs", std::to_string(::getpid()) + "\n");
  CHECK(peak_memory(machine.root()).bytes == 7 * kMiB);
  CHECK(peak_memory(machine.root()).source == "cgroup");
  machine.put("/sys/fs/cgroup/a/memory.peak", "?\n");  // kernels before 5.19 have none
  CHECK(peak_memory(machine.root()).source == "VmHWM");
  machine.put("/sys/fs/cgroup/a/memory.peak", kMiB).put("/sys/fs/cgroup/a/cgroup.procs", "1\n" + std::to_string(::getpid()) + "\n");
  CHECK(peak_memory(machine.root()).source == "VmHWM");
  machine.put("/proc/self/status", "");
  CHECK(peak_memory(machine.root()).bytes == 0);
}

TEST_CASE("the peak of version 1's root is the machine's, not ours, unless it has a limit") {
  Machine machine;
  machine.put("/proc/self/cgroup", "4:memory:/\n").group1("", kNoLimit1, kGiB);
  machine.put("/sys/fs/cgroup/memory/memory.max_usage_in_bytes", 9 * kGiB);
  machine.put("/sys/fs/cgroup/memory/cgroup.procs", std::to_string(::getpid()) + "\n");
  CHECK(peak_memory(machine.root()).source == "VmHWM");
  machine.group1("", 2 * kGiB, kGiB);
  CHECK(peak_memory(machine.root()).source == "cgroup");
}

TEST_CASE("this machine has memory") {
  const HostMemory memory = host_memory();
  CHECK(memory.total > 0);
  CHECK(memory.available > 0);
  CHECK(memory.available <= memory.total);
  CHECK(peak_memory().bytes > 0);
}

TEST_CASE("a peak that begins anew forgets what was freed before") {
  constexpr std::size_t kBytes = 128 << 20;
  std::optional<leafcutter::PageBuffer> buffer(std::in_place, kBytes, "test");
  for (std::size_t i = 0; i < kBytes; i += 4096) buffer->bytes()[i] = std::byte{1};
  buffer.reset();
  const PeakMemory before = peak_memory();
  if (before.source != "VmHWM") return;  // alone in a memory group, whose peak stays
  restart_peak();
  CHECK(peak_memory().bytes + kBytes / 2 < before.bytes);
}
