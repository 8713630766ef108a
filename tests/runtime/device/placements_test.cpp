// Steps on a device give the bits of the CPU, wherever weights and keys are and whoever computes what.
#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "compress/leaf_reader.h"
#include "offload/emulated_device.h"
#include "tests/runtime/ant_models.h"
#include "tests/runtime/device/device_models.h"
#include "tests/runtime/test_models.h"
#include "tests/support/checked_device.h"
#include "tests/support/checked_reads.h"
#include "tests/support/sanitized.h"
#include "tests/support/temporary_folder.h"

using namespace leafcutter;
using namespace leafcutter::testing;
using offload::test::CheckedDevice;
using offload::test::CheckedReads;

namespace {

struct Tally {
  std::size_t ran = 0, refused = 0, copied = 0, streamed = 0, host_keys = 0;
};

// One random placement on a device that checks the order of all accesses.
void try_checked(const DeviceCase& c, std::uint64_t seed, Tally& tally) {
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  CheckedDevice::Options device_options;
  device_options.seed = seed;
  device_options.refuses_pinning = seed % 7 == 0;
  device_options.memory_bytes = seed % 3 == 0 ? c.least_device + random() % c.keys : kMiB / 4 + random() % c.device_range;
  const auto device = std::make_shared<CheckedDevice>(device_options);
  runtime::LoadOptions options = c.options;
  options.device = device;
  options.threads = 1 + random() % 2;
  options.device_sides = random_sides(c.index, seed);
  options.through = [&device](std::shared_ptr<File> file) { return std::make_shared<CheckedReads>(*device, std::move(file)); };
  {
    const auto model = load_with(c.path, options, 5 * kMiB + random() % c.host_range);
    if (!model) {
      tally.refused++;
      return;
    }
    tally.ran++;
    const std::size_t piece = 1 + random() % DeviceCase::kPrompt;
    for (const bool of_prompt : {true, false}) {
      const std::vector<float> got = walk(*model, DeviceCase::kPrompt, piece, DeviceCase::kTokens, c.context, of_prompt);
      CHECK(device->first_error() == "");
      CHECK(same_bits(got, {c.want.end() - static_cast<std::ptrdiff_t>(got.size()), c.want.end()}));
    }
    tally.streamed += !model->plan().streamed.empty();
    std::uint64_t ring = 0, keys = 0;
    for (const offload::AccountEntry& entry : model->account().entries()) {
      if (entry.tier != offload::Tier::device) continue;
      if (entry.name == "ring of copied chunks") ring = entry.bytes;
      if (entry.name == "KV cache") keys = entry.bytes;
    }
    tally.copied += ring > 0;
    tally.host_keys += keys < c.keys;
    CHECK(device->most_allocated_bytes() <= device->properties().memory_bytes);
  }
  CHECK(device->first_error() == "");
  CHECK(device->allocated_bytes() == 0);
}

// Runs `cases` placements of each format on LLaMA models, and of each type of keys on CPM-Ant.
Tally check_llama(int cases) {
  const test::TemporaryFolder folder;
  Tally tally;
  std::uint64_t seed = 1;
  for (const quant::FormatId format : {quant::FormatId::q4, quant::FormatId::q8, quant::FormatId::f32}) {
    const DeviceCase c(synthesize_to(folder.file("model.leaf"), in_format(format, 65536)), false, kernels::KvType::f16);
    for (int i = 0; i < cases; i++) try_checked(c, seed++, tally);
  }
  MESSAGE(tally.ran << " ran, " << tally.refused << " refused, " << tally.copied << " copied, " << tally.streamed << " streamed, "
                    << tally.host_keys << " with keys of some layers in host memory");
  return tally;
}

Tally check_cpm_ant(int cases) {
  const test::TemporaryFolder folder;
  Tally tally;
  std::uint64_t seed = 1000;
  for (const auto kv_type : {kernels::KvType::f32, kernels::KvType::q8}) {
    DeviceCase c(random_ant_to(folder.file("ant.leaf"), in_format(quant::FormatId::f32, 8192)), true, kv_type);
    c.device_range = kMiB;
    c.host_range = 3 * kMiB;
    for (int i = 0; i < cases; i++) try_checked(c, seed++, tally);
  }
  MESSAGE(tally.ran << " ran, " << tally.refused << " refused, " << tally.copied << " copied, " << tally.streamed << " streamed, "
                    << tally.host_keys << " with keys of some layers in host memory");
  return tally;
}

// Real threads, copies no faster than a link: caps, sides and rates are drawn from the seed.
std::size_t check_emulated(const DeviceCase& c, std::uint64_t first, std::uint64_t last) {
  std::size_t ran = 0;
  for (std::uint64_t seed = first; seed < last; seed++) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    offload::EmulatedDeviceOptions emulated;
    emulated.memory_bytes = seed % 3 == 0 ? c.least_device + random() % c.keys : kMiB / 2 + random() % c.device_range;
    emulated.copy_engines = 1 + seed % 2;
    emulated.isa = kernels::default_isa();
    // From about the rate at which kernels use weights up to an eighth of it: either may have to wait for the other.
    emulated.link_bytes_per_s = c.link_bytes_per_s / static_cast<double>(1 + random() % 8);
    const std::shared_ptr<offload::Device> device = offload::make_emulated_device(emulated);
    runtime::LoadOptions options = c.options;
    options.device = device;
    options.threads = 1 + random() % 2;
    options.device_sides = random_sides(c.index, seed);
    {
      const auto model = load_with(c.path, options, 5 * kMiB + random() % c.host_range);
      if (!model) continue;  // refused: out of budget
      ran++;
      CHECK(same_bits(walk(*model, DeviceCase::kPrompt, 1 + random() % DeviceCase::kPrompt, DeviceCase::kTokens, c.context), c.want));
      CHECK(model->account().total(offload::Tier::device) <= device->properties().memory_bytes);
    }
    CHECK(device->allocated_bytes() == 0);
    CHECK(device->most_allocated_bytes() <= device->properties().memory_bytes);
  }
  return ran;
}

void check_emulated_llama(quant::FormatId format) {
  const test::TemporaryFolder folder;
  DeviceCase c(synthesize_to(folder.file("model.leaf"), in_format(format, 65536)), false, kernels::KvType::f16);
  if (format == quant::FormatId::f32) c.link_bytes_per_s *= 4;  // of seven times the bytes
  const std::size_t ran = check_emulated(c, 1, 101);
  MESSAGE(ran << " ran");
  CHECK(ran >= 75);
}

}  // namespace

TEST_CASE("LLaMA on a device: random placements, budgets, sides and orders give the bits of the CPU") {
  const Tally tally = check_llama(test::fewer_if_sanitized(8));
  CHECK(tally.ran > (test::kSanitized ? 3 : 12));
  CHECK(tally.copied > (test::kSanitized ? 1 : 8));
  if (!test::kSanitized) CHECK(tally.streamed > 2);
  CHECK(tally.host_keys > (test::kSanitized ? 0 : 4));
}

TEST_CASE("slow: LLaMA on a device, many random placements") {
  const Tally tally = check_llama(40);
  CHECK(tally.ran > 60);
  CHECK(tally.copied > 30);
  CHECK(tally.streamed > 5);
  CHECK(tally.host_keys > 20);
}

TEST_CASE("CPM-Ant on a device: random placements, budgets, sides and orders give the bits of the CPU") {
  const Tally tally = check_cpm_ant(test::fewer_if_sanitized(16));
  CHECK(tally.ran > (test::kSanitized ? 3 : 12));
  CHECK(tally.copied > (test::kSanitized ? 1 : 8));
  CHECK(tally.streamed > (test::kSanitized ? 0 : 4));
  CHECK(tally.host_keys > (test::kSanitized ? 0 : 4));
}

TEST_CASE("slow: CPM-Ant on a device, many random placements") {
  const Tally tally = check_cpm_ant(60);
  CHECK(tally.ran > 40);
  CHECK(tally.copied > 20);
  CHECK(tally.streamed > 10);
  CHECK(tally.host_keys > 20);
}

TEST_CASE("the emulated device gives the bits of the CPU on its threads, over slow links") {
  const test::TemporaryFolder folder;
  const DeviceCase c(synthesize_to(folder.file("model.leaf"), in_format(quant::FormatId::q4, 65536)), false, kernels::KvType::f16);
  CHECK(check_emulated(c, 1, 13) > 6);
}

// Hundreds of placements; a test each, so that they run beside each other.
TEST_CASE("slow: the emulated device gives the bits of the CPU in many placements, q4") { check_emulated_llama(quant::FormatId::q4); }
TEST_CASE("slow: the emulated device gives the bits of the CPU in many placements, q8") { check_emulated_llama(quant::FormatId::q8); }
TEST_CASE("slow: the emulated device gives the bits of the CPU in many placements, f32") { check_emulated_llama(quant::FormatId::f32); }

TEST_CASE("slow: the emulated device gives the bits of the CPU in many placements, CPM-Ant") {
  const test::TemporaryFolder folder;
  DeviceCase c(random_ant_to(folder.file("ant.leaf"), in_format(quant::FormatId::f32, 8192)), true, kernels::KvType::f32);
  c.device_range = kMiB;
  c.host_range = 3 * kMiB;
  const std::size_t ran = check_emulated(c, 1000, 1120);
  MESSAGE(ran << " ran");
  CHECK(ran >= 75);
}
