#include "offload/system_text.h"

#include <doctest/doctest.h>

using namespace leafcutter::offload;

TEST_CASE("numbers behind keys") {
  constexpr const char* kMeminfo =
      "MemTotal:       16384000 kB\nMemFree:          123456 kB\nMemAvailable:    8000000 kB\nHugePages_Total:       5\n";
  CHECK(number_of(kMeminfo, "MemTotal") == 16384000ull * 1024);
  CHECK(number_of(kMeminfo, "MemAvailable") == 8000000ull * 1024);
  CHECK(number_of(kMeminfo, "HugePages_Total") == 5);
  for (const char* key : {"Mem", "MemAvail", "emTotal", "SwapTotal", "memtotal"}) CHECK_FALSE(number_of(kMeminfo, key));
  CHECK(number_of("inactive_file 4096\ntotal_inactive_file 8192\n", "total_inactive_file") == 8192);
  CHECK(number_of("total_inactive_file 8192\ninactive_file 4096", "inactive_file") == 4096);
  CHECK(number_of("active_file\t77\n", "active_file") == 77);
  CHECK(number_of("VmHWM:\t    1234 kB\r\n", "VmHWM") == 1234 * 1024);
}

TEST_CASE("what is no number is none") {
  for (const char* text : {"", "\n\n\n", "key", "key:", "key: ", "key: x", "key: -5", "key: kB", "key: +5", "key:\t\n", "keys: 5", "key-5",
                           "key: 99999999999999999999 kB", "key: 18446744073709551615 kB"}) {
    CAPTURE(text);
    CHECK_FALSE(number_of(text, "key"));
  }
  CHECK(number_of("key: x\nkey: 7\n", "key") == 7);  // the first line that has one
}

TEST_CASE("limit files: a number, or none for max and what is as good as none") {
  CHECK(limit_of("0\n") == 0);
  CHECK(limit_of("1073741824\n") == 1073741824);
  CHECK(limit_of(" 12 \n") == 12);
  for (const char* text : {"", "\n", "max\n", "max", "9223372036854771712\n", "18446744073709551615\n", "18446744073709551616\n", "-1\n",
                           "12 kB\n", "0x10\n", "1.5\n", "12\n13\n"}) {
    CAPTURE(text);
    CHECK_FALSE(limit_of(text));
  }
}

TEST_CASE("lines of /proc/self/cgroup") {
  const std::vector<CgroupLine> lines = cgroup_lines("9:name=systemd:/\n4:memory:/a/b\n2:cpu,cpuacct:/c:d\n0::/user.slice/x\n");
  REQUIRE(lines.size() == 4);
  CHECK(lines[0].controllers == std::vector<std::string>{"name=systemd"});
  CHECK(lines[1].path == "/a/b");
  CHECK(lines[1].controllers == std::vector<std::string>{"memory"});
  CHECK(lines[2].controllers == std::vector<std::string>{"cpu", "cpuacct"});
  CHECK(lines[2].path == "/c:d");  // names of groups may hold colons
  CHECK(lines[3].controllers.empty());
  CHECK(lines[3].path == "/user.slice/x");
  for (const char* text : {"", "\n", "garbage\n", "4:memory\n", "4\n"}) CHECK(cgroup_lines(text).empty());
  CHECK(cgroup_lines("0::/no/line/end").size() == 1);
}
