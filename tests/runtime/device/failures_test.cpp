// What a device refuses, fails at or stops in the middle of: a smaller plan or a clear error, nothing left behind, and the next request works.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>

#include "offload/emulated_device.h"
#include "tests/runtime/device/device_models.h"
#include "tests/runtime/test_models.h"
#include "tests/support/checked_device.h"
#include "tests/support/sanitized.h"
#include "tests/support/temporary_folder.h"

using namespace leafcutter;
using namespace leafcutter::testing;
using offload::test::CheckedDevice;

namespace {

bool says_that_more_was_refused(const runtime::Model& model) {
  return std::any_of(model.notes().begin(), model.notes().end(),
                     [](const std::string& note) { return note.starts_with("device memory: planned for "); });
}

}  // namespace

TEST_CASE("a device that refuses one allocation, whichever, gets a smaller plan with the same answer") {
  const test::TemporaryFolder folder;
  const DeviceCase c(synthesize_to(folder.file("model.leaf"), in_format(quant::FormatId::q4, 65536)), false, kernels::KvType::f16);
  std::uint64_t allocations = 0;
  for (std::uint64_t index = 0; index == 0 || index < allocations; index++) {
    CAPTURE(index);
    offload::EmulatedDeviceOptions emulated;
    emulated.memory_bytes = 3 * kMiB;
    emulated.isa = kernels::default_isa();
    std::uint64_t calls = 0;
    emulated.faults = [&](offload::EmulatedCall call, std::uint64_t at) {
      if (call != offload::EmulatedCall::allocate) return offload::EmulatedFault::none;
      calls++;
      return at == index ? offload::EmulatedFault::refuse : offload::EmulatedFault::none;
    };
    const std::shared_ptr<offload::Device> device = offload::make_emulated_device(std::move(emulated));
    runtime::LoadOptions options = c.options;
    options.device = device;
    options.host_share = 0.3;
    {
      const auto model = runtime::Model::load(c.path, options);
      allocations = calls - index - 1;  // of the load that worked: the one before it ended with the refusal
      CHECK(says_that_more_was_refused(*model));
      CHECK(model->account().total(offload::Tier::device) < 3 * kMiB * 7 / 8);
      CHECK(same_bits(walk(*model, DeviceCase::kPrompt, 4, DeviceCase::kTokens, false), c.want));
    }
    CHECK(device->allocated_bytes() == 0);
  }
  CHECK(allocations >= 6);
}

TEST_CASE("a device that refuses all allocations from one on is an error that says so, and nothing is left of what it gave") {
  const test::TemporaryFolder folder;
  const DeviceCase c(synthesize_to(folder.file("model.leaf"), in_format(quant::FormatId::q4, 65536)), false, kernels::KvType::f16);
  for (std::uint64_t index = 0; index < 6; index++) {
    CAPTURE(index);
    offload::EmulatedDeviceOptions emulated;
    emulated.memory_bytes = 3 * kMiB;
    bool armed = true;
    emulated.faults = [&](offload::EmulatedCall call, std::uint64_t at) {
      return armed && call == offload::EmulatedCall::allocate && at >= index ? offload::EmulatedFault::refuse
                                                                             : offload::EmulatedFault::none;
    };
    emulated.isa = kernels::default_isa();
    const std::shared_ptr<offload::Device> device = offload::make_emulated_device(std::move(emulated));
    runtime::LoadOptions options = c.options;
    options.device = device;
    try {
      runtime::Model::load(c.path, options);
      FAIL("it loaded");
    } catch (const offload::DeviceError& e) {
      CHECK(e.failure() == offload::DeviceFailure::out_of_memory);
      CHECK(std::string(e.what()).find("of device memory") != std::string::npos);
      CHECK(std::string(e.what()).find("no smaller plan fits") != std::string::npos);
    }
    CHECK(device->allocated_bytes() == 0);
    armed = false;
    CHECK(same_bits(walk(*runtime::Model::load(c.path, options), DeviceCase::kPrompt, 4, DeviceCase::kTokens, false), c.want));
    CHECK(device->allocated_bytes() == 0);
  }
}

TEST_CASE("a device that has less memory than it says gets a plan for what there is, or refuses in one line") {
  const test::TemporaryFolder folder;
  const DeviceCase c(synthesize_to(folder.file("model.leaf"), in_format(quant::FormatId::q4, 65536)), false, kernels::KvType::f16);
  std::size_t ran = 0, refused = 0;
  for (std::uint64_t taken = 0; taken <= 4 * kMiB; taken += kMiB / 4) {
    CAPTURE(taken);
    const auto device =
        std::make_shared<CheckedDevice>(CheckedDevice::Options{.memory_bytes = 4 * kMiB, .taken_bytes = taken, .seed = taken + 1});
    runtime::LoadOptions options = c.options;
    options.device = device;
    options.host_share = 0.3;
    try {
      const auto model = runtime::Model::load(c.path, options);
      ran++;
      CHECK(refused == 0);  // of the smaller ones none
      CHECK(says_that_more_was_refused(*model) == (device->refusals() > 0));
      CHECK(same_bits(walk(*model, DeviceCase::kPrompt, 4, DeviceCase::kTokens, false), c.want));
    } catch (const offload::DeviceError& e) {
      refused++;
      CHECK(e.failure() == offload::DeviceFailure::out_of_memory);
    }
    CHECK(device->most_allocated_bytes() <= 4 * kMiB - taken);
    CHECK(device->first_error() == "");
    CHECK(device->allocated_bytes() == 0);
  }
  CHECK(ran > 8);
  CHECK(refused > 0);
}

TEST_CASE("a device that fails at any call is an error, leaves nothing behind, and the next request works unless it is lost") {
  const test::TemporaryFolder folder;
  const DeviceCase c(synthesize_to(folder.file("model.leaf"), in_format(quant::FormatId::q4, 65536)), false, kernels::KvType::f16);
  using offload::EmulatedCall;
  using offload::EmulatedFault;
  std::size_t failed_loads = 0, failed_steps = 0, lost = 0;
  const auto try_fault = [&](EmulatedCall call, EmulatedFault fault, std::uint64_t index) {
    CAPTURE(static_cast<int>(call));
    CAPTURE(static_cast<int>(fault));
    CAPTURE(index);
    bool armed = true;
    offload::EmulatedDeviceOptions emulated;
    emulated.memory_bytes = 3 * kMiB;
    emulated.isa = kernels::default_isa();
    emulated.faults = [&](EmulatedCall now, std::uint64_t at) { return armed && now == call && at == index ? fault : EmulatedFault::none; };
    const std::shared_ptr<offload::Device> device = offload::make_emulated_device(std::move(emulated));
    runtime::LoadOptions options = c.options;
    options.device = device;
    options.host_share = 0.3;
    {
      std::unique_ptr<runtime::Model> model;
      bool device_lost = false;
      std::vector<float> got;
      try {
        model = runtime::Model::load(c.path, options);
        got = walk(*model, DeviceCase::kPrompt, 4, DeviceCase::kTokens, false);
      } catch (const offload::DeviceError& e) {
        device_lost = e.failure() == offload::DeviceFailure::lost;
        (model ? failed_steps : failed_loads)++;
      }
      armed = false;
      lost += device_lost;
      if (!got.empty()) CHECK(same_bits(got, c.want));
      if (device_lost) {
        if (model) CHECK_THROWS_AS(walk(*model, 1, 1, 0, false), offload::DeviceError);
      } else {
        if (!model) model = runtime::Model::load(c.path, options);
        got = walk(*model, DeviceCase::kPrompt, 4, DeviceCase::kTokens, false);
        CHECK(same_bits(got, c.want));
      }
    }
    CHECK(device->allocated_bytes() == 0);
  };
  for (std::uint64_t index = 0; index < 8; index++)
    for (const auto fault : {EmulatedFault::refuse, EmulatedFault::lose}) {
      try_fault(EmulatedCall::allocate, fault, index);
      try_fault(EmulatedCall::pin, fault, index);
    }
  for (std::uint64_t index = 0; index < 400; index = test::kSanitized ? index * 2 + 3 : index * 5 / 4 + 3)
    for (const auto fault : {EmulatedFault::refuse, EmulatedFault::later, EmulatedFault::lose}) {
      try_fault(EmulatedCall::copy, fault, index);
      try_fault(EmulatedCall::launch, fault, index);
      if (fault == EmulatedFault::lose) try_fault(EmulatedCall::wait, fault, index);
    }
  CHECK(failed_loads > 10);
  CHECK(failed_steps > (test::kSanitized ? 25 : 50));
  CHECK(lost > (test::kSanitized ? 15 : 20));
}

TEST_CASE("a step on a device that is stopped leaves the cache as it was, and the model goes on") {
  const test::TemporaryFolder folder;
  const DeviceCase c(synthesize_to(folder.file("model.leaf"), in_format(quant::FormatId::q8, 65536)), false, kernels::KvType::f16);
  const auto device = std::make_shared<CheckedDevice>(CheckedDevice::Options{.memory_bytes = 3 * kMiB});
  runtime::LoadOptions options = c.options;
  options.device = device;
  {
    const auto model = runtime::Model::load(c.path, options);
    const auto check_walk = [&] {
      const std::vector<float> got = walk(*model, DeviceCase::kPrompt, 5, DeviceCase::kTokens, false);
      CHECK(device->first_error() == "");
      CHECK(same_bits(got, c.want));
    };
    check_walk();
    std::stop_source stop;
    stop.request_stop();
    const runtime::StepRow row{1, DeviceCase::kPrompt + DeviceCase::kTokens, 0, true};
    std::vector<float> logits(c.index.model.vocab_size);
    CHECK_THROWS_AS(model->step({&row, 1}, logits, stop.get_token()), Error);
    CHECK(model->cached_positions(0) == DeviceCase::kPrompt + DeviceCase::kTokens);
    check_walk();
  }
  CHECK(device->first_error() == "");
  CHECK(device->allocated_bytes() == 0);
}
