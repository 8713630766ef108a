// Plans that predictions choose, carried out on a device.
#include <doctest/doctest.h>

#include <random>
#include <set>
#include <string>

#include "offload/card_table.h"
#include "tests/runtime/ant_models.h"
#include "tests/runtime/device/device_models.h"
#include "tests/runtime/test_models.h"
#include "tests/support/checked_device.h"
#include "tests/support/sanitized.h"
#include "tests/support/temporary_folder.h"

using namespace leafcutter;
using namespace leafcutter::testing;
using offload::test::CheckedDevice;

TEST_CASE("with rates of a device its plan is the one that predictions choose, for decode and for prefill, and gives the bits of the CPU") {
  const test::TemporaryFolder folder;
  const DeviceCase llama(synthesize_to(folder.file("model.leaf"), in_format(quant::FormatId::q4, 65536)), false, kernels::KvType::f16);
  DeviceCase ant(random_ant_to(folder.file("ant.leaf"), in_format(quant::FormatId::f32, 8192)), true, kernels::KvType::f32);
  ant.device_range = kMiB;
  ant.host_range = 3 * kMiB;
  std::size_t ran = 0, apart = 0, beside = 0;
  std::set<std::string> chosen;
  const std::size_t cases = test::kSanitized ? 12 : 40;
  for (std::uint64_t seed = 1; seed <= cases; seed++) {
    CAPTURE(seed);
    const DeviceCase& c = seed % 2 ? llama : ant;
    std::mt19937_64 random(seed);
    CheckedDevice::Options checked;
    checked.seed = seed;
    checked.memory_bytes = kMiB / 4 + random() % c.device_range;
    const auto device = std::make_shared<CheckedDevice>(checked);
    runtime::LoadOptions options = c.options;
    options.device = device;
    offload::DeviceRates rates{offload::find_card("gtx1060-6gb"), offload::find_card_host("desktop-ddr4")};
    // These models are so small that the time of a launch would decide everything.
    rates.card.launch_s = rates.card.link_latency_s = rates.host.meeting_s = 0;
    rates.card.link_bytes_per_s = 1e8 * static_cast<double>(1 + random() % 400);
    rates.host.dram_bytes_per_s = 1e9 * static_cast<double>(1 + random() % 100);
    rates.host.product_bytes_per_s = rates.host.dram_bytes_per_s;
    rates.host.int8_ops_per_s = 1e9 * static_cast<double>(1 + random() % 1000);
    options.device_rates = rates;
    {
      const auto model = load_with(c.path, options, 5 * kMiB + random() % c.host_range);
      if (!model) continue;  // refused: out of budget
      ran++;
      const offload::DevicePlan& plan = *model->device_plan();
      REQUIRE(model->device_prediction() != nullptr);
      CHECK(plan.decode.host_strips == model->device_prediction()->best().plan.decode.host_strips);
      CHECK(plan.prefill.host_strips == model->device_prediction()->best().plan.prefill.host_strips);
      apart += plan.decode.host_strips != plan.prefill.host_strips;
      beside += model->device_prediction()->best().host_share > 0 && plan.device_ring_bytes > 0;
      chosen.insert(model->device_prediction()->best().strategy);
      CHECK(same_bits(walk(*model, DeviceCase::kPrompt, DeviceCase::kPrompt, DeviceCase::kTokens, c.context), c.want));
      CHECK(same_bits(walk(*model, DeviceCase::kPrompt, DeviceCase::kPrompt, DeviceCase::kTokens, c.context), c.want));
      CHECK(device->most_allocated_bytes() <= device->properties().memory_bytes);
    }
    CHECK(device->first_error() == "");
  }
  MESSAGE(ran << " ran, " << apart << " with other sides in prefill, " << beside << " with host and link side by side, " << chosen.size()
              << " strategies");
  CHECK(ran > cases / 2);
  CHECK(apart > cases / 8);
  CHECK(beside > cases / 8);
  CHECK(chosen.size() > (test::kSanitized ? 0 : 1));
}
