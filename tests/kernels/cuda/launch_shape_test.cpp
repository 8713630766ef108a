#include "kernels/cuda/launch_shape.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <string>

#include "tests/support/cuda_emulation/emulator.h"
#include "tests/support/expect_error.h"

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

TEST_CASE("launches cover what there is to do, and stay within what a card takes") {
  using namespace leafcutter::kernels;
  AddLaunch add;
  add.n = 257;
  CHECK(launch_shape(DeviceKernel::add, &add).grid[0] == 2);
  add.n = 0;
  CHECK(launch_shape(DeviceKernel::add, &add).empty());

  RotateLaunch rotate;
  rotate.rows = 100000;
  rotate.heads = 32;
  rotate.head_dim = 128;
  rotate.half = 64;
  const LaunchShape turned = launch_shape(DeviceKernel::rotate, &rotate);
  CHECK(turned.grid[0] == 100000);
  CHECK(turned.grid[1] == 8);
  rotate.half = 0;
  CHECK(launch_shape(DeviceKernel::rotate, &rotate).empty());

  QuantizeRowsLaunch quantize;
  quantize.rows = 3;
  quantize.k = 4097;
  CHECK(launch_shape(DeviceKernel::quantize_rows, &quantize).grid[1] == 17);
  quantize.rows = std::uint64_t{1} << 31;
  leafcutter::test::expect_error([&] { launch_shape(DeviceKernel::quantize_rows, &quantize); },
                                 {"lc_quantize_rows: needs 2147483648 blocks"});

  StoreKvLaunch store;
  store.rows = 2;
  store.kv_heads = 8;
  store.head_dim = 80;
  store.type = KvType::q8;
  const LaunchShape stored = launch_shape(DeviceKernel::store_kv, &store);
  CHECK(std::string(stored.function) == "lc_store_kv_q8");
  CHECK(stored.threads == 96);
  CHECK(stored.grid[1] == 8);
  CHECK(stored.grid[2] == 2);
  store.kv_heads = 65536;
  leafcutter::test::expect_error([&] { launch_shape(DeviceKernel::store_kv, &store); }, {"65535 at most"});

  GateLaunch gate;
  gate.n = 1;
  for (const auto& [kind, name] : {std::pair(Gate::silu, "lc_gate_silu"), std::pair(Gate::gelu_erf, "lc_gate_gelu_erf"),
                                   std::pair(Gate::gelu_tanh, "lc_gate_gelu_tanh")}) {
    gate.gate = kind;
    CHECK(std::string(launch_shape(DeviceKernel::gate, &gate).function) == name);
  }
}
