// Steps on a device give the bits of the CPU, wherever weights and keys are and whoever computes what.
#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "compress/leaf_reader.h"
#include "offload/emulated_device.h"
#include "tests/runtime/ant_models.h"
#include "tests/runtime/device_models.h"
#include "tests/runtime/test_models.h"
#include "tests/support/checked_device.h"
#include "tests/support/temporary_folder.h"

using namespace leafcutter;
using namespace leafcutter::testing;
using offload::test::CheckedDevice;

namespace {

constexpr std::uint64_t kMiB = 1 << 20;

struct Case {
  std::string path;
  compress::LeafIndex index;
  bool context;
  std::vector<float> want;
  runtime::LoadOptions options;
  std::uint64_t device_range = 8 * kMiB, host_range = 12 * kMiB;  // of the budgets that are tried

  Case(std::string the_path, bool is_context, kernels::KvType kv_type)
      : path(std::move(the_path)), index(compress::read_leaf_index(*open_file(path))), context(is_context) {
    options.threads = 2;
    options.ctx_size = 48;
    options.logit_rows = kPrompt;
    options.without_tokenizer = true;
    options.kv_type = kv_type;
    want = walk(*runtime::Model::load(path, options), kPrompt, kPrompt, kTokens, context);
  }

  static constexpr std::size_t kPrompt = 17, kTokens = 5;
};

std::string first_error(const CheckedDevice& device) { return device.errors().empty() ? "" : device.errors().front(); }

struct Tally {
  std::size_t ran = 0, refused = 0, copied = 0, streamed = 0, host_keys = 0;
};

// One random placement on a device that checks the order of all accesses.
void try_checked(const Case& c, std::uint64_t seed, Tally& tally) {
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  CheckedDevice::Options device_options;
  device_options.seed = seed;
  device_options.refuses_pinning = seed % 7 == 0;
  device_options.memory_bytes = kMiB / 4 + random() % c.device_range;
  const auto device = std::make_shared<CheckedDevice>(device_options);
  runtime::LoadOptions options = c.options;
  options.device = device;
  options.threads = 1 + random() % 2;
  options.device_sides = random_sides(c.index, seed);
  {
    const auto model = load_with(c.path, options, 5 * kMiB + random() % c.host_range);
    if (!model) {
      tally.refused++;
      return;
    }
    tally.ran++;
    const std::size_t piece = 1 + random() % Case::kPrompt;
    CHECK(same_bits(walk(*model, Case::kPrompt, piece, Case::kTokens, c.context), c.want));
    CHECK(same_bits(walk(*model, Case::kPrompt, piece, Case::kTokens, c.context), c.want));
    tally.streamed += !model->plan().streamed.empty();
    std::uint64_t ring = 0, keys = 0;
    for (const offload::AccountEntry& entry : model->account().entries()) {
      if (entry.tier != offload::Tier::device) continue;
      if (entry.name == "ring of copied chunks") ring = entry.bytes;
      if (entry.name == "KV cache") keys = entry.bytes;
    }
    tally.copied += ring > 0;
    tally.host_keys += keys == 0;
    CHECK(device->most_allocated_bytes() <= device->properties().memory_bytes);
  }
  CHECK(first_error(*device) == "");
  CHECK(device->allocated_bytes() == 0);
}

// Runs `cases` placements of each format on LLaMA models, and of each type of keys on CPM-Ant.
Tally check_llama(int cases) {
  const test::TemporaryFolder folder;
  Tally tally;
  std::uint64_t seed = 1;
  for (const quant::FormatId format : {quant::FormatId::q4, quant::FormatId::q8, quant::FormatId::f32}) {
    const Case c(synthesize_to(folder.file("model.leaf"), in_format(format, 65536)), false, kernels::KvType::f16);
    for (int i = 0; i < cases; i++) try_checked(c, seed++, tally);
  }
  MESSAGE(tally.ran << " ran, " << tally.refused << " refused, " << tally.copied << " copied, " << tally.streamed << " streamed, "
                    << tally.host_keys << " with keys in host memory");
  return tally;
}

Tally check_cpm_ant(int cases) {
  const test::TemporaryFolder folder;
  Tally tally;
  std::uint64_t seed = 1000;
  for (const auto kv_type : {kernels::KvType::f32, kernels::KvType::q8}) {
    Case c(random_ant_to(folder.file("ant.leaf"), in_format(quant::FormatId::f32, 8192)), true, kv_type);
    c.device_range = kMiB;
    c.host_range = 3 * kMiB;
    for (int i = 0; i < cases; i++) try_checked(c, seed++, tally);
  }
  MESSAGE(tally.ran << " ran, " << tally.refused << " refused, " << tally.copied << " copied, " << tally.streamed << " streamed, "
                    << tally.host_keys << " with keys in host memory");
  return tally;
}

// Real threads, copies no faster than a link: caps, sides and rates are drawn from the seed.
std::size_t check_emulated(const Case& c, std::uint64_t first, std::uint64_t last) {
  std::size_t ran = 0;
  for (std::uint64_t seed = first; seed < last; seed++) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    offload::EmulatedDeviceOptions emulated;
    emulated.memory_bytes = kMiB / 2 + random() % c.device_range;
    emulated.copy_engines = 1 + seed % 2;
    emulated.isa = kernels::default_isa();
    emulated.link_bytes_per_s = 1e9 / static_cast<double>(1 + random() % 8);
    const std::shared_ptr<offload::Device> device = offload::make_emulated_device(emulated);
    runtime::LoadOptions options = c.options;
    options.device = device;
    options.threads = 1 + random() % 2;
    options.device_sides = random_sides(c.index, seed);
    {
      const auto model = load_with(c.path, options, 5 * kMiB + random() % c.host_range);
      if (!model) continue;  // refused: out of budget
      ran++;
      CHECK(same_bits(walk(*model, Case::kPrompt, 1 + random() % Case::kPrompt, Case::kTokens, c.context), c.want));
      CHECK(model->account().total(offload::Tier::device) <= device->properties().memory_bytes);
    }
    CHECK(device->allocated_bytes() == 0);
    CHECK(device->most_allocated_bytes() <= device->properties().memory_bytes);
  }
  return ran;
}

}  // namespace

TEST_CASE("LLaMA on a device: random placements, budgets, sides and orders give the bits of the CPU") {
  const Tally tally = check_llama(8);
  CHECK(tally.ran > 12);
  CHECK(tally.copied > 8);
  CHECK(tally.streamed > 2);
}

TEST_CASE("slow: LLaMA on a device, many random placements") {
  const Tally tally = check_llama(40);
  CHECK(tally.ran > 60);
  CHECK(tally.copied > 30);
  CHECK(tally.streamed > 5);
}

TEST_CASE("CPM-Ant on a device: random placements, budgets, sides and orders give the bits of the CPU") {
  const Tally tally = check_cpm_ant(16);
  CHECK(tally.ran > 12);
  CHECK(tally.copied > 8);
  CHECK(tally.streamed > 4);
}

TEST_CASE("slow: CPM-Ant on a device, many random placements") {
  const Tally tally = check_cpm_ant(60);
  CHECK(tally.ran > 40);
  CHECK(tally.copied > 20);
  CHECK(tally.streamed > 10);
}

TEST_CASE("the emulated device gives the bits of the CPU on its threads, over slow links") {
  const test::TemporaryFolder folder;
  const Case c(synthesize_to(folder.file("model.leaf"), in_format(quant::FormatId::q4, 65536)), false, kernels::KvType::f16);
  CHECK(check_emulated(c, 1, 13) > 6);
}

TEST_CASE("slow: the emulated device gives the bits of the CPU in hundreds of placements") {
  const test::TemporaryFolder folder;
  std::size_t ran = 0;
  for (const quant::FormatId format : {quant::FormatId::q4, quant::FormatId::q8, quant::FormatId::f32}) {
    const Case c(synthesize_to(folder.file("model.leaf"), in_format(format, 65536)), false, kernels::KvType::f16);
    ran += check_emulated(c, 1, 101);
  }
  Case ant(random_ant_to(folder.file("ant.leaf"), in_format(quant::FormatId::f32, 8192)), true, kernels::KvType::f32);
  ant.device_range = kMiB;
  ant.host_range = 3 * kMiB;
  ran += check_emulated(ant, 1000, 1120);
  MESSAGE(ran << " ran");
  CHECK(ran >= 300);
}

TEST_CASE("a device that fails at any call is an error, leaves nothing behind, and the next request works unless it is lost") {
  const test::TemporaryFolder folder;
  const Case c(synthesize_to(folder.file("model.leaf"), in_format(quant::FormatId::q4, 65536)), false, kernels::KvType::f16);
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
        got = walk(*model, Case::kPrompt, 4, Case::kTokens, false);
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
        got = walk(*model, Case::kPrompt, 4, Case::kTokens, false);
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
  for (std::uint64_t index = 0; index < 400; index = index * 5 / 4 + 3)
    for (const auto fault : {EmulatedFault::refuse, EmulatedFault::later, EmulatedFault::lose}) {
      try_fault(EmulatedCall::copy, fault, index);
      try_fault(EmulatedCall::launch, fault, index);
      if (fault == EmulatedFault::lose) try_fault(EmulatedCall::wait, fault, index);
    }
  CHECK(failed_loads > 10);
  CHECK(failed_steps > 50);
  CHECK(lost > 20);
}

TEST_CASE("a step on a device that is stopped leaves the cache as it was, and the model goes on") {
  const test::TemporaryFolder folder;
  const Case c(synthesize_to(folder.file("model.leaf"), in_format(quant::FormatId::q8, 65536)), false, kernels::KvType::f16);
  const auto device = std::make_shared<CheckedDevice>(CheckedDevice::Options{.memory_bytes = 3 * kMiB});
  runtime::LoadOptions options = c.options;
  options.device = device;
  {
    const auto model = runtime::Model::load(c.path, options);
    CHECK(same_bits(walk(*model, Case::kPrompt, 5, Case::kTokens, false), c.want));
    std::stop_source stop;
    stop.request_stop();
    const runtime::StepRow row{1, Case::kPrompt + Case::kTokens, 0, true};
    std::vector<float> logits(c.index.model.vocab_size);
    CHECK_THROWS_AS(model->step({&row, 1}, logits, stop.get_token()), Error);
    CHECK(model->cached_positions(0) == Case::kPrompt + Case::kTokens);
    CHECK(same_bits(walk(*model, Case::kPrompt, 5, Case::kTokens, false), c.want));
  }
  CHECK(first_error(*device) == "");
  CHECK(device->allocated_bytes() == 0);
}
