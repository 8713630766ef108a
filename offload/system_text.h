// The kernel's text files about memory, as numbers. Text in, facts out; no I/O.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace leafcutter::offload {

// The number behind `key` in lines such as "MemAvailable:  1234 kB" or "inactive_file 4096"; kB is multiplied out. None where there is no such line or no number.
std::optional<std::uint64_t> number_of(std::string_view text, std::string_view key);

// A limit file: a number, or "max" and numbers near 2^63 for none.
std::optional<std::uint64_t> limit_of(std::string_view text);

// One line of /proc/self/cgroup: "4:memory:/a/b" (v1), "0::/a/b" (v2).
struct CgroupLine {
  std::vector<std::string> controllers;  // empty for v2
  std::string path;
};
std::vector<CgroupLine> cgroup_lines(std::string_view text);

}  // namespace leafcutter::offload
