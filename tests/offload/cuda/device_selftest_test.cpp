// The self-test of a device passes on a right one, emulated or CUDA's over the fake driver, and names what is wrong on others.
#include "offload/device_selftest.h"

#include <doctest/doctest.h>

#include "offload/cuda_device.h"
#include "offload/emulated_device.h"
#include "tests/support/fake_cuda.h"

using namespace leafcutter;
using namespace leafcutter::offload;
using leafcutter::offload::test::FakeCuda;

namespace {

struct Tally {
  std::size_t passed = 0, failed = 0, measured = 0;
  std::string first_failure;
  SelftestReport report() {
    return [this](const SelftestLine& line) {
      (!line.is_passed ? measured : *line.is_passed ? passed : failed)++;
      if (line.is_passed && !*line.is_passed && first_failure.empty()) first_failure = line.name + ": " + line.detail;
    };
  }
};

std::unique_ptr<Device> emulated(std::function<EmulatedFault(EmulatedCall, std::uint64_t)> faults = {}) {
  EmulatedDeviceOptions options;
  options.isa = kernels::default_isa();
  options.faults = std::move(faults);
  return make_emulated_device(std::move(options));
}

}  // namespace

TEST_CASE("the self-test passes on the emulated device and measures it") {
  const auto device = emulated();
  Tally tally;
  check_device_copies(*device, tally.report());
  CHECK(tally.passed == 6);
  check_device_kernels(*device, tally.report());
  CHECK(tally.first_failure == "");
  measure_device(*device, 1 << 20, tally.report());
  CHECK(tally.measured == 5);
  // With a limit, how far copies and kernels overlap passes or fails.
  Tally good, bad;
  measure_device(*device, 1 << 20, good.report(), 1e9);
  CHECK(good.measured == 4);
  CHECK(good.passed == 1);
  measure_device(*device, 1 << 20, bad.report(), 1e-9);
  CHECK(bad.passed == 0);
  CHECK(bad.first_failure.find("copies and kernels") != std::string::npos);
  CHECK(device->allocated_bytes() == 0);
}

TEST_CASE("the self-test passes on the CUDA device, whose kernels are emulated") {
  FakeCuda fake;
  CudaDeviceOptions options;
  options.code.ptx = ".version 6.0\n";
  const auto device = make_cuda_device(fake.driver(), options);
  Tally tally, other;
  check_device_copies(*device, tally.report());
  check_device_kernels(*device, tally.report());
  CHECK(tally.first_failure == "");
  CHECK(fake.errors() == std::vector<std::string>{});
  check_device_kernels(*emulated(), other.report());
  CHECK(tally.passed == 6 + other.passed);
}

TEST_CASE("the self-test names what fails, goes on, and gives up with a lost device") {
  for (const std::uint64_t index : {0, 41}) {
    CAPTURE(index);
    const auto device = emulated([&](EmulatedCall call, std::uint64_t at) {
      return call == EmulatedCall::launch && at == index ? EmulatedFault::refuse : EmulatedFault::none;
    });
    Tally tally;
    check_device_kernels(*device, tally.report());
    CHECK(tally.failed == 1);
    CHECK(tally.first_failure.find("a kernel failed") != std::string::npos);
    CHECK(tally.passed > 60);
  }
  const auto lost = emulated([](EmulatedCall call, std::uint64_t at) {
    return call == EmulatedCall::launch && at == 9 ? EmulatedFault::lose : EmulatedFault::none;
  });
  Tally tally;
  CHECK_THROWS_AS(check_device_kernels(*lost, tally.report()), DeviceError);
  CHECK(tally.passed >= 5);
}
