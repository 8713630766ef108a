// The executor on a device that plays a card takes, on the card's clock, what the predictions say, and gives the bits of the CPU.
#include "offload/virtual_device.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "compress/leaf_reader.h"
#include "runtime/step_program_builder.h"
#include "tests/runtime/device/device_models.h"
#include "tests/runtime/test_models.h"
#include "tests/support/sanitized.h"
#include "tests/support/temporary_folder.h"

using namespace leafcutter;
using namespace leafcutter::testing;

namespace {

// Chunks of 64 KiB instead of 4 MiB: all that moves is as much slower, so that launches and latencies have the weight that they have on a card.
constexpr std::size_t kChunk = 64 << 10;
constexpr double kSmaller = static_cast<double>(4 * kMiB) / kChunk;

offload::DeviceRates scaled(const std::string& card, const std::string& host) {
  offload::DeviceRates rates{offload::find_card(card), offload::find_card_host(host)};
  for (double* rate : {&rates.card.dram_bytes_per_s, &rates.card.clock_hz, &rates.card.link_bytes_per_s, &rates.host.dram_bytes_per_s,
                       &rates.host.product_bytes_per_s, &rates.host.int8_ops_per_s, &rates.host.attention_ops_per_s,
                       &rates.host.attention_one_row_ops_per_s, &rates.host.disk_bytes_per_s, &rates.host.check_bytes_per_s})
    *rate /= kSmaller;
  return rates;
}

constexpr std::size_t kPrompt = 20, kTokens = 3;

void write_model(const std::string& path) {
  const compress::ModelDescription model = test::describe({.layers = 8, .dim = 512, .heads = 8, .kv_heads = 8, .ff_width = 1536});
  const auto file = create_file(path);
  ThreadTeam team(2);
  const auto options = in_format(quant::FormatId::q4, kChunk);
  compress::synthesize_model(model, options.formats, 1, options.writer, *file, team, {});
}

runtime::LoadOptions small_context() {
  runtime::LoadOptions options;
  options.threads = 2;
  options.ctx_size = 64;
  options.prompt_positions = 20;
  options.logit_rows = 20;
  options.without_tokenizer = true;
  return options;
}

std::shared_ptr<offload::Device> virtual_card(const offload::DeviceRates& rates, std::uint64_t bytes) {
  offload::VirtualDeviceOptions card;
  card.memory_bytes = bytes;
  card.card = rates.card;
  card.host = rates.host;
  card.isa = kernels::default_isa();
  return offload::make_virtual_device(card);
}

struct Timed {
  double seconds = 0, predicted = 0;
};

// Steps of one row behind what was cached; a step's own time changes little with its position. best_a_row: so many of the logits are handed out, 0: all.
Timed timed_decode(runtime::Model& model, offload::Device& device, const offload::DeviceRates& rates, std::size_t best_a_row) {
  constexpr std::size_t kWarm = 3, kCounted = 4;
  const compress::LeafIndex& index = model.index();
  std::vector<float> logits(index.model.vocab_size);
  std::vector<kernels::Ranked> best_logits(best_a_row);
  double begin = 0;
  for (std::size_t i = 0; i < kWarm + kCounted; i++) {
    if (i == kWarm) begin = *device.clock_seconds();
    model.step(std::vector<runtime::StepRow>{{7, model.cached_positions(0), 0, true}}, {logits, best_logits, best_a_row});
  }
  auto program = runtime::step_program(index, 1, model.cached_positions(0) - 1, 1, model.kv_type());
  program.best_a_row = best_a_row;
  const offload::DevicePlan& plan = *model.device_plan();
  const offload::CardStep step = offload::card_step(index, plan, plan.decode, program, rates.card, rates.host);
  return {(*device.clock_seconds() - begin) / kCounted, offload::simulate_card(step, rates.card, rates.host, 2, 4).seconds};
}

}  // namespace

TEST_CASE("steps on the card's clock take what was predicted, within a few percent, and give the bits of the CPU") {
  const test::TemporaryFolder folder;
  const std::string path = folder.file("model.leaf");
  write_model(path);
  const runtime::LoadOptions options = small_context();
  const std::vector<float> want = walk(*runtime::Model::load(path, options), kPrompt, kPrompt, kTokens, false);
  std::vector<std::string> hosts{"desktop-ddr4", "desktop-ddr5", "laptop-ddr4"};
  if (test::kSanitized) hosts.resize(1);
  for (const std::string& host : hosts)
    for (const std::uint64_t budget : {4, 9, 14, 20}) {
      const offload::DeviceRates rates = scaled("gtx1060-6gb", host);
      const std::shared_ptr<offload::Device> device = virtual_card(rates, budget * kMiB);
      runtime::LoadOptions on_card = options;
      on_card.device = device;
      on_card.device_rates = rates;
      const auto model = runtime::Model::load(path, on_card);
      CAPTURE(host);
      CAPTURE(budget);
      REQUIRE(model->plan().streamed.empty());
      CHECK(same_bits(walk(*model, kPrompt, kPrompt, kTokens, false), want));

      // All logits are handed out, or the largest.
      const Timed decode = timed_decode(*model, *device, rates, budget % 2 == 0 ? 0 : 40);
      const auto& best = model->device_prediction()->best();
      MESSAGE(host << ", " << budget << " MiB: " << best.strategy << ", host's share " << best.host_share << ", limit "
                   << std::string(best.decode.limit()) << ": " << 1e3 * decode.seconds << " ms, predicted " << 1e3 * decode.predicted
                   << " ms, " << decode.seconds / decode.predicted);
      CHECK(decode.seconds <= 1.03 * decode.predicted);
      CHECK(decode.seconds >= 0.97 * decode.predicted);
    }
}

TEST_CASE("where weights come from disk, steps on the card's clock take what was predicted: what the disk takes for them") {
  const test::TemporaryFolder folder;
  const std::string path = folder.file("model.leaf");
  write_model(path);
  runtime::LoadOptions options = small_context();
  const std::vector<float> want = walk(*runtime::Model::load(path, options), kPrompt, kPrompt, kTokens, false);
  std::size_t limited_by_disk = 0;
  for (const std::string host : {"desktop-ddr4", "desktop-ddr4-sata", "desktop-ddr5"})
    for (const std::uint64_t budget : {9, 12}) {
      const offload::DeviceRates rates = scaled("gtx1060-6gb", host);
      const std::shared_ptr<offload::Device> device = virtual_card(rates, 4 * kMiB);
      runtime::LoadOptions on_card = options;
      on_card.device = device;
      on_card.device_rates = rates;
      const auto model = load_with(path, on_card, budget * kMiB);
      CAPTURE(host);
      CAPTURE(budget);
      REQUIRE(model != nullptr);
      REQUIRE_FALSE(model->plan().streamed.empty());
      CHECK(same_bits(walk(*model, kPrompt, kPrompt, kTokens, false), want));
      const Timed decode = timed_decode(*model, *device, rates, 0);
      const auto& best = model->device_prediction()->best();
      MESSAGE(host << ", " << budget << " MiB: " << best.strategy << ", limit " << std::string(best.decode.limit()) << ": "
                   << 1e3 * decode.seconds << " ms, predicted " << 1e3 * decode.predicted << " ms, " << decode.seconds / decode.predicted
                   << ", disk alone " << 1e3 * best.decode.bound_disk);
      CHECK(decode.seconds <= 1.05 * decode.predicted);
      CHECK(decode.seconds >= 0.95 * decode.predicted);
      limited_by_disk += std::string(best.decode.limit()) == "disk";
    }
  CHECK(limited_by_disk >= 4);
}
