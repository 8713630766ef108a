#include "offload/virtual_device.h"

#include <doctest/doctest.h>

#include <vector>

#include "offload/device_memory.h"
#include "offload/prediction.h"
#include "offload/read_clock.h"

using namespace leafcutter::offload;

namespace {

// Round numbers: the link and the host's memory count in megabytes, the card's kernels move 10 MB a second.
VirtualDeviceOptions slow_card() {
  VirtualDeviceOptions options;
  options.memory_bytes = 64 << 20;
  options.card.link_bytes_per_s = 1e6;
  options.card.link_latency_s = 0.5;
  options.card.dram_bytes_per_s = 10e6;
  options.card.dram_share = 1;
  options.card.launch_s = 0.25;
  options.card.copy_engines = 2;
  options.host.dram_bytes_per_s = options.host.product_bytes_per_s = 2e6;
  options.host.int8_ops_per_s = options.host.attention_ops_per_s = options.host.attention_one_row_ops_per_s = 1e15;
  return options;
}

constexpr std::size_t kMB = 1'000'000;

struct Played {
  std::unique_ptr<Device> device;
  DeviceBuffer memory;
  StagingBuffer staging;
  DeviceStream a, b;
  explicit Played(const VirtualDeviceOptions& options)
      : device(make_virtual_device(options)),
        memory(*device, 16 * kMB, "test"),
        staging(*device, 8 * kMB, "test"),
        a(device->make_stream()),
        b(device->make_stream()) {}
  double now() const { return device->clock_seconds().value(); }
  void down(double megabytes, DeviceStream stream) {
    device->copy_to_device(memory.address(), staging.data(), {static_cast<std::size_t>(megabytes * kMB)}, stream);
  }
  // Reads and writes 10 MB in all, none of which copies touch: a second and the launch.
  void kernel(DeviceStream stream) {
    device->copy_on_device(memory.address() + 12 * kMB, memory.address() + 8 * kMB, {static_cast<std::size_t>(2.5 * kMB)}, stream);
    device->copy_on_device(memory.address() + 12 * kMB, memory.address() + 8 * kMB, {static_cast<std::size_t>(2.5 * kMB)}, stream);
  }
};

}  // namespace

TEST_CASE("copies take latency and bytes one after another, and only what waits makes time pass") {
  Played p(slow_card());
  p.down(2, p.a);
  p.down(1, p.b);
  CHECK(p.now() == 0);
  p.device->synchronize(p.a);
  CHECK(p.now() == doctest::Approx(2.5));
  p.device->synchronize(p.b);
  CHECK(p.now() == doctest::Approx(3.5));  // behind the other: no latency
  p.down(1, p.a);
  p.device->synchronize(p.a);
  CHECK(p.now() == doctest::Approx(4.5));
}

TEST_CASE("kernels run beside copies, and an event orders what is on two streams") {
  Played p(slow_card());
  const DeviceEvent copied = p.device->make_event();
  p.kernel(p.a);
  p.down(3, p.b);
  p.device->record(copied, p.b);
  CHECK_FALSE(p.device->is_done(copied));
  p.device->synchronize(p.a);
  CHECK(p.now() == doctest::Approx(1.5));
  p.device->wait(p.a, copied);
  p.kernel(p.a);
  p.device->synchronize(p.a);
  CHECK(p.now() == doctest::Approx(5.0));  // 3.5 of the copy, then the kernels
  CHECK(p.device->is_done(copied));
}

TEST_CASE("with two engines a copy up goes beside one down, with one it waits") {
  for (const int engines : {1, 2}) {
    VirtualDeviceOptions options = slow_card();
    options.card.copy_engines = engines;
    Played p(options);
    p.down(2, p.a);
    p.device->copy_to_host(p.staging.data() + 4 * kMB, p.memory.address() + 4 * kMB, {kMB}, p.b);
    p.device->synchronize(p.b);
    CHECK(p.now() == doctest::Approx(engines == 2 ? 1.5 : 3.5));
    p.device->drain();
  }
}

TEST_CASE("the host's work takes what copies leave of its memory") {
  Played p(slow_card());
  p.device->host_worked({.bytes = 2.0 * kMB});
  CHECK(p.now() == doctest::Approx(1));
  p.down(4, p.a);
  p.device->host_worked({.bytes = 2.0 * kMB});
  // Half a second of the latency at 2 MB/s, then 1 MB/s beside the link.
  CHECK(p.now() == doctest::Approx(1 + 0.5 + 1));
  p.device->synchronize(p.a);
  CHECK(p.now() == doctest::Approx(1 + 0.5 + 4));
}

TEST_CASE(
    "reads from disk arrive one after another, as far ahead as the ring has room, and leave the host's work what they do not take of its "
    "memory") {
  VirtualDeviceOptions options = slow_card();
  options.host.disk_bytes_per_s = 1e6;
  options.host.disk_latency_s = 0.5;
  options.host.check_bytes_per_s = 4e6;
  Played p(options);
  HostReads reads;
  for (int i = 0; i < 3; i++) {
    reads.order.push_back({kMB, kMB, false});
    reads.check_bytes.push_back(kMB);
  }
  reads.ring_bytes = 2 * kMB;
  ReadClock* const clock = p.device->play_reads(reads);
  REQUIRE(clock != nullptr);
  CHECK_FALSE(clock->is_ready());
  clock->acquire();
  CHECK(p.now() == doctest::Approx(0.5 + 1 + 0.25));
  // The second is arriving until 2.5: half of the host's memory is left, and all of it while the second is checked.
  p.device->host_worked({.bytes = 2.0 * kMB});
  CHECK(p.now() == doctest::Approx(2.5 + 0.625));
  CHECK(clock->is_ready());
  clock->acquire();
  CHECK(p.now() == doctest::Approx(2.5 + 0.625));
  // There was no room for the third before now.
  clock->release(0);
  CHECK_FALSE(clock->is_ready());
  clock->acquire();
  CHECK(p.now() == doctest::Approx(3.125 + 0.5 + 1 + 0.25));
  // What is given up begins with the first chunk again.
  clock->reset();
  clock->acquire();
  CHECK(p.now() == doctest::Approx(4.875 + 0.5 + 1 + 0.25));
  // Streams that are empty have nothing to wait for.
  const double now = p.now();
  p.device->drain();
  CHECK(p.now() == now);
}

TEST_CASE("attention of one row on the host goes at a rate of its own") {
  VirtualDeviceOptions options = slow_card();
  options.host.attention_ops_per_s = 10e6;
  options.host.attention_one_row_ops_per_s = 1e6;
  Played p(options);
  p.device->host_worked({.kv_bytes = 1, .attention_operations = 2e6, .attention_rows = 1});
  CHECK(p.now() == doctest::Approx(2));
  p.device->host_worked({.kv_bytes = 1, .attention_operations = 20e6, .attention_rows = kManyAttentionRows});
  CHECK(p.now() == doctest::Approx(4));
}
