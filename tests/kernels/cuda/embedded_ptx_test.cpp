#include "kernels/cuda/embedded_ptx.h"

#include <doctest/doctest.h>

#include <cstring>
#include <fstream>
#include <set>
#include <sstream>
#include <string>

#include "kernels/cuda/launch_shape.h"
#include "tests/support/cuda_emulation/emulator.h"

using namespace leafcutter::gpu;

namespace {

// What follows `word` up to the end of its line.
std::string value_of(std::string_view ptx, std::string_view word) {
  const std::size_t at = ptx.find(word);
  if (at == std::string_view::npos) return "";
  const std::size_t begin = at + word.size();
  return std::string(ptx.substr(begin, ptx.find('\n', begin) - begin));
}

std::set<std::string> entries(std::string_view ptx) {
  std::set<std::string> names;
  constexpr std::string_view kEntry = ".visible .entry ";
  for (std::size_t at = ptx.find(kEntry); at != std::string_view::npos; at = ptx.find(kEntry, at + 1)) {
    const std::size_t begin = at + kEntry.size();
    names.insert(std::string(ptx.substr(begin, ptx.find('(', begin) - begin)));
  }
  return names;
}

}  // namespace

TEST_CASE("the embedded PTX is of ISA 6.0 for sm_61, has all kernels and nothing else, and calls nothing") {
  const std::string_view ptx = embedded_ptx();
  CHECK(!embedded_ptx_note().empty());
  if (ptx.empty()) {
    MESSAGE("not checked: ", std::string(embedded_ptx_note()));
    CHECK(embedded_ptx_note().find("no kernels for NVIDIA cards") == 0);
    return;
  }
  CHECK(value_of(ptx, ".version ") == "6.0");
  CHECK(value_of(ptx, ".target ") == "sm_61");
  CHECK(value_of(ptx, ".address_size ") == "64");
  CHECK(ptx.data()[ptx.size()] == '\0');
  CHECK(ptx.find(".extern .func") == std::string_view::npos);
  CHECK(ptx.find("call") == std::string_view::npos);    // all is inlined
  CHECK(ptx.find(".local") == std::string_view::npos);  // nothing lies in slow memory of a thread's own
  std::set<std::string> listed;
  for (const char* name : device_functions()) listed.insert(name);
  CHECK(entries(ptx) == listed);
}

TEST_CASE("on sm_61 no kernel spills, and each fits the threads it is launched with") {
  if (embedded_cubin().empty()) {
    MESSAGE("not checked, registers and spills on sm_61: ", std::string(embedded_ptx_note()));
    return;
  }
  CHECK(std::memcmp(embedded_cubin().data(), "\177ELF", 4) == 0);
  std::ifstream file(LEAFCUTTER_CUDA_REGISTERS);
  REQUIRE(file);
  std::set<std::string> seen;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string name;
    unsigned registers = 0, shared = 0, stack = 0, stores = 0, loads = 0;
    words >> name >> registers >> shared >> stack >> stores >> loads;
    REQUIRE(!words.fail());
    CAPTURE(name);
    CHECK(registers > 0);
    CHECK(stack + stores + loads == 0);
    CHECK(shared <= kMostSharedBytes);
    const auto kernel = emulation::find_kernel(name);
    REQUIRE(kernel);
    CHECK((registers + 7) / 8 * 8 * kernel->most_threads <= 65536);
    seen.insert(name);
  }
  for (const char* name : device_functions()) {
    CAPTURE(name);
    CHECK(seen.count(name) == 1);
  }
}
