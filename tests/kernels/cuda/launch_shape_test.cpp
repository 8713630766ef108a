#include "kernels/cuda/launch_shape.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <string>

#include "tests/support/cuda_emulation/emulator.h"

using namespace leafcutter::gpu;

TEST_CASE("the entry points of the table are the kernels of the source files") {
  std::set<std::string> listed, compiled;
  for (const char* name : device_functions()) CHECK(listed.insert(name).second);
  for (const auto& kernel : emulation::all_kernels()) {
    if (std::string(kernel.name).rfind("lc_", 0) == 0) compiled.insert(kernel.name);
    CHECK(kernel.most_threads % 32 == 0);
  }
  CHECK(listed == compiled);
}
