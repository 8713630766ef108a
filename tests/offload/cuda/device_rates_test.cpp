// The rates of a device that is there: those of the fake driver's clock, and of a virtual device's, come out as they were put in.
#include "offload/device_rates.h"

#include <doctest/doctest.h>

#include "offload/cuda_device.h"
#include "offload/virtual_device.h"
#include "tests/support/fake_cuda.h"

using namespace leafcutter::offload;
using leafcutter::offload::test::FakeCuda;
using leafcutter::offload::test::FakeCudaOptions;

namespace {

constexpr DeviceProbe kSmall{256 << 10, 64, 10};

}  // namespace

TEST_CASE("rates are measured on the clock of a card's events") {
  FakeCudaOptions wanted;
  wanted.link_bytes_per_s = 6e9;
  wanted.launch_s = 5e-6;
  wanted.int8_ops_per_s = 2e12;  // so little that a small probe is bound by it
  wanted.f32_ops_per_s = 5e11;
  FakeCuda fake(wanted);
  CudaDeviceOptions options;
  options.code.ptx = ".version 6.0\n";
  const auto device = make_cuda_device(fake.driver(), options);
  const MeasuredDevice measured = measure_device_rates(*device, kSmall);
  CHECK(measured.link_bytes_per_s == doctest::Approx(6e9).epsilon(0.01));
  CHECK(measured.link_latency_s == doctest::Approx(8e-6).epsilon(0.02));
  CHECK(measured.launch_s == doctest::Approx(5e-6).epsilon(0.02));
  CHECK(measured.weights_bytes_per_s == doctest::Approx(150e9).epsilon(0.1));
  CHECK(measured.int8_ops_per_s == doctest::Approx(2e12).epsilon(0.1));
  CHECK(measured.f32_ops_per_s == doctest::Approx(5e11).epsilon(0.1));
  CHECK(measured.copy_engines == 2);
  CHECK(device->allocated_bytes() == 0);
  CHECK(fake.errors() == std::vector<std::string>{});
}

TEST_CASE("rates of a virtual card are those of its row") {
  VirtualDeviceOptions options;
  options.card = find_card("gtx1060-6gb");
  options.host = find_card_host("desktop-ddr4");
  const auto device = make_virtual_device(options);
  const Card card = card_of(measure_device_rates(*device, kSmall));
  CHECK(card.link_bytes_per_s == doctest::Approx(options.card.link_bytes_per_s).epsilon(0.02));
  CHECK(card.launch_s == doctest::Approx(options.card.launch_s).epsilon(0.02));
  CHECK(card.usable_dram() == doctest::Approx(options.card.usable_dram()).epsilon(0.05));
  CHECK(card.multiprocessors == options.card.multiprocessors);
  CHECK(card.clock_hz == doctest::Approx(options.card.clock_hz).epsilon(0.02));
  CHECK(card.copy_engines == 2);
}

TEST_CASE("of a host the slowest of a model's products counts") {
  HostRates rates;
  rates.memory_gb_s = 30;
  rates.products = {{.one_row_gb_s = 20, .many_rows_gop_s = 400}, {.one_row_gb_s = 35, .many_rows_gop_s = 300}};
  rates.disk_gb_s = 2;
  const CardHost host = card_host_of(rates);
  CHECK(host.dram_bytes_per_s == 30e9);
  CHECK(host.product_bytes_per_s == 20e9);
  CHECK(host.int8_ops_per_s == 300e9);
  CHECK(host.disk_bytes_per_s == 2e9);
}
