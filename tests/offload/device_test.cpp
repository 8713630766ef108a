// The devices of the tests and of --device emulated, driven by a small program that streams weights.
#include "offload/device.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>

#include "offload/emulated_device.h"
#include "tests/offload/device_streamer.h"
#include "tests/support/checked_device.h"

using namespace leafcutter::offload;
using leafcutter::Error;
using leafcutter::ErrorKind;
using leafcutter::offload::test::CheckedDevice;
using leafcutter::offload::test::DeviceStreamer;
using leafcutter::offload::test::StreamerFaults;

namespace {

EmulatedDeviceOptions with_memory(std::uint64_t bytes) {
  EmulatedDeviceOptions options;
  options.memory_bytes = bytes;
  options.isa = leafcutter::kernels::default_isa();
  return options;
}

std::vector<float> expected(std::size_t steps) {
  CheckedDevice device({});
  return DeviceStreamer(device, 10).run(steps);
}

bool mentions(const std::vector<std::string>& errors, const std::string& a, const std::string& b) {
  return std::any_of(errors.begin(), errors.end(),
                     [&](const std::string& e) { return e.find(a) != std::string::npos && e.find(b) != std::string::npos; });
}

}  // namespace

TEST_CASE("whatever legal order the streams run in, the answer is the same and every access is ordered") {
  for (const std::size_t steps : {1, 7}) {
    const std::vector<float> want = expected(steps);
    CHECK(std::none_of(want.begin(), want.end(), [](float v) { return std::isnan(v); }));
    for (std::uint64_t seed = 1; seed <= 100; seed++) {
      CAPTURE(seed);
      CheckedDevice device({.refuses_pinning = seed % 5 == 0, .seed = seed});
      CHECK(DeviceStreamer(device, 2 + seed % 4).run(steps) == want);
      CHECK(device.errors() == std::vector<std::string>{});
      CHECK(device.allocated_bytes() == 0);
    }
  }
}

TEST_CASE("what is left out is found in every order, with the names of both accesses") {
  for (std::uint64_t seed = 1; seed <= 50; seed++) {
    CAPTURE(seed);
    const auto errors_with = [&](const StreamerFaults& faults) {
      CheckedDevice device({.seed = seed});
      DeviceStreamer(device, 2).run(3, faults);
      return device.errors();
    };
    CHECK(mentions(errors_with({.no_wait_for_copy = true}), "product #", "copy to device #"));
    CHECK(mentions(errors_with({.no_wait_for_use = true}), "copy to device #", "product #"));
    CHECK(mentions(errors_with({.host_reuses_input = true}), "copy to device #", "changed by the host"));
    CheckedDevice device({.seed = seed});
    const std::vector<float> early = DeviceStreamer(device, 2).run(1, {.reads_early = true});
    CHECK(std::isnan(early[0]));
  }
}

TEST_CASE("the emulated device gives the same answer on its threads, with slow links, one engine or two, pinned or not") {
  const std::vector<float> want = expected(20);
  for (const std::size_t engines : {1, 2})
    for (const double rate : {0.0, 5e7})
      for (const bool pins : {true, false}) {
        EmulatedDeviceOptions options = with_memory(1 << 20);
        options.copy_engines = engines;
        if (rate > 0) options.link_bytes_per_s = rate;
        if (!pins)
          options.faults = [](EmulatedCall call, std::uint64_t) {
            return call == EmulatedCall::pin ? EmulatedFault::refuse : EmulatedFault::none;
          };
        const auto device = make_emulated_device(std::move(options));
        CHECK(DeviceStreamer(*device, 3).run(20) == want);
        CHECK(device->allocated_bytes() == 0);
        CHECK(device->most_allocated_bytes() <= device->properties().memory_bytes);
      }
}

TEST_CASE("a copy takes as long as the link says, twice that without pinned memory") {
  constexpr std::size_t kBytes = 1 << 20;
  const auto seconds = [&](bool pinned) {
    EmulatedDeviceOptions options = with_memory(kBytes);
    options.link_bytes_per_s = 50e6;
    const auto device = make_emulated_device(std::move(options));
    const DeviceStream stream = device->make_stream();
    const DeviceAddress memory = device->allocate(kBytes, "target");
    std::vector<std::byte> pageable(kBytes);
    std::byte* locked = device->allocate_pinned(kBytes);
    const auto start = std::chrono::steady_clock::now();
    device->copy_to_device(memory, pinned ? locked : pageable.data(), {kBytes}, stream);
    device->synchronize(stream);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  CHECK(seconds(true) >= kBytes / 50e6);
  CHECK(seconds(false) >= 2 * kBytes / 50e6);
}

TEST_CASE("what the device fetches from pinned memory does not wait behind copies, and any other memory is copied") {
  constexpr std::size_t kBytes = 1 << 20, kFew = 400;
  EmulatedDeviceOptions options = with_memory(2 * kBytes);
  options.link_bytes_per_s = 4e6;
  const auto device = make_emulated_device(std::move(options));
  const DeviceAddress there = device->allocate(kBytes, "a test"), results = device->allocate(kFew, "results");
  std::byte* const here = device->allocate_pinned(kBytes);
  for (std::size_t i = 0; i < kFew; i++) here[i] = static_cast<std::byte>(i);
  const DeviceStream copies = device->make_stream(), quick = device->make_stream();
  const DeviceEvent copied = device->make_event();
  device->copy_to_device(there, here, {kBytes}, copies);  // a quarter of a second
  device->record(copied, copies);
  device->fetch(results, here, {.row_bytes = 10, .rows = 20, .to_stride = 20, .from_stride = 20}, quick);
  device->synchronize(quick);
  CHECK_FALSE(device->is_done(copied));
  device->synchronize(copied);
  std::vector<std::byte> found(kFew);
  device->copy_to_host(found.data(), results, {kFew}, quick);
  device->synchronize(quick);
  for (std::size_t i = 0; i < kFew; i++) CHECK(found[i] == (i % 20 < 10 ? here[i] : std::byte{0xff}));
  const std::vector<std::byte> pageable(kFew, std::byte{7});
  device->fetch(results, pageable.data(), {kFew}, quick);
  device->copy_to_host(found.data(), results, {kFew}, quick);
  device->synchronize(quick);
  CHECK(found == pageable);
  device->free_pinned(here);
}

TEST_CASE("an event that is recorded again on another stream stays done when the former one comes later") {
  EmulatedDeviceOptions options = with_memory(1 << 20);
  options.link_bytes_per_s = 1e7;
  const auto device = make_emulated_device(std::move(options));
  const DeviceAddress there = device->allocate(1 << 20, "a test");
  std::byte* const here = device->allocate_pinned(1 << 20);
  const DeviceStream slow = device->make_stream(), quick = device->make_stream();
  const DeviceEvent event = device->make_event();
  device->copy_to_device(there, here, {1 << 20}, slow);  // a tenth of a second
  device->record(event, slow);
  device->record(event, quick);
  device->synchronize(event);
  CHECK(device->is_done(event));
  device->synchronize(slow);
  CHECK(device->is_done(event));
  device->free_pinned(here);
  device->free(there);
}

TEST_CASE("memory ends where the cap is, and says what it was for") {
  const auto device = make_emulated_device(with_memory(1000));
  CHECK_THROWS_WITH_AS(device->allocate(1001, "KV cache"), doctest::Contains("KV cache"), DeviceError);
  const DeviceAddress first = device->allocate(512, "a");
  CHECK(first.value % kDeviceAlignment == 0);
  try {
    device->allocate(512, "b");
    FAIL("there is no room for it");
  } catch (const DeviceError& e) {
    CHECK(e.failure() == DeviceFailure::out_of_memory);
    CHECK(e.kind() == ErrorKind::out_of_budget);
  }
  device->free(first);
  CHECK(device->allocated_bytes() == 0);
  CHECK(device->most_allocated_bytes() == 512);
  device->free(device->allocate(768, "c"));
}

TEST_CASE("memory is poisoned, and a launch beyond its memory is our mistake") {
  const auto device = make_emulated_device(with_memory(1 << 16));
  const DeviceStream stream = device->make_stream();
  const DeviceAddress memory = device->allocate(64, "sixteen floats");
  float values[16];
  device->copy_to_host(reinterpret_cast<std::byte*>(values), memory, {sizeof values}, stream);
  CHECK(std::all_of(std::begin(values), std::end(values), [](float v) { return std::isnan(v); }));
  AddLaunch launch;
  launch.x = launch.y = memory;
  launch.n = 17;
  CHECK_THROWS_AS(device->launch(launch, stream), std::logic_error);
  CHECK_THROWS_AS(device->copy_to_host(reinterpret_cast<std::byte*>(values), memory + 4, {sizeof values}, stream), std::logic_error);
}

TEST_CASE("copies may be of rows with strides on either side") {
  const auto device = make_emulated_device(with_memory(1 << 16));
  const DeviceStream stream = device->make_stream();
  const DeviceAddress memory = device->allocate(64, "bytes"), other = device->allocate(64, "more");
  std::vector<std::byte> from(30), to(30, std::byte{0});
  for (std::size_t i = 0; i < from.size(); i++) from[i] = static_cast<std::byte>(i);
  device->copy_to_device(memory, from.data(), {.row_bytes = 3, .rows = 4, .to_stride = 16, .from_stride = 7}, stream);
  device->copy_on_device(other, memory, {.row_bytes = 3, .rows = 4, .to_stride = 5, .from_stride = 16}, stream);
  device->copy_to_host(to.data(), other, {.row_bytes = 3, .rows = 4, .to_stride = 7, .from_stride = 5}, stream);
  for (std::size_t i = 0; i < 28; i++) CHECK(to[i] == (i % 7 < 3 && i < 24 ? from[i] : std::byte{0}));
}

TEST_CASE("each call that fails is an error, nothing is left behind, and what comes next works unless the device is lost") {
  const std::vector<float> want = expected(3);
  std::size_t failures = 0, losses = 0;
  for (const EmulatedCall call : {EmulatedCall::allocate, EmulatedCall::pin, EmulatedCall::copy, EmulatedCall::launch, EmulatedCall::wait})
    for (const EmulatedFault fault : {EmulatedFault::refuse, EmulatedFault::later, EmulatedFault::lose})
      for (std::uint64_t index = 0; index < 30; index++) {
        CAPTURE(static_cast<int>(call));
        CAPTURE(static_cast<int>(fault));
        CAPTURE(index);
        const bool has_later = call == EmulatedCall::copy || call == EmulatedCall::launch;
        if (fault == EmulatedFault::later && !has_later) continue;
        bool armed = true;
        EmulatedDeviceOptions options = with_memory(1 << 20);
        options.faults = [&](EmulatedCall now, std::uint64_t at) {
          return armed && now == call && at == index ? fault : EmulatedFault::none;
        };
        const auto device = make_emulated_device(std::move(options));
        bool failed = false, lost = false;
        try {
          const std::vector<float> got = DeviceStreamer(*device, 3).run(3);
          CHECK(got == want);
        } catch (const DeviceError& e) {
          failed = true;
          failures++;
          lost = e.failure() == DeviceFailure::lost;
        }
        armed = false;
        CHECK(lost == (failed && fault == EmulatedFault::lose));
        if (fault == EmulatedFault::refuse && (call == EmulatedCall::pin || call == EmulatedCall::wait)) CHECK_FALSE(failed);
        CHECK(device->drain() == !lost);
        CHECK(device->allocated_bytes() == 0);
        losses += lost;
        if (lost) {
          CHECK_THROWS_AS(device->allocate(1, "more"), DeviceError);
        } else {
          const std::vector<float> again = DeviceStreamer(*device, 3).run(3);
          CHECK(again == want);
        }
      }
  CHECK(failures > 100);
  CHECK(losses > 50);
}
