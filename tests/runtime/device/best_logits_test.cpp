// Where the best logits are asked for, they are those of all logits, and tokens do not change.
#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "kernels/elementwise.h"
#include "runtime/generate.h"
#include "tests/runtime/ant_models.h"
#include "tests/runtime/device/device_models.h"
#include "tests/runtime/test_models.h"
#include "tests/support/checked_device.h"
#include "tests/support/temporary_folder.h"

using namespace leafcutter;
using namespace leafcutter::testing;
using offload::test::CheckedDevice;

namespace {

// The best of the prompt's rows are those of the logits that are wanted. Gives the memory for logits as the step left it.
std::vector<float> check_best(runtime::Model& model, const DeviceCase& c, std::size_t k, std::uint32_t below) {
  model.truncate(0, 0);
  const std::size_t vocabulary = c.index.model.vocab_size;
  std::vector<float> logits(DeviceCase::kPrompt * vocabulary, 12345.0f);
  std::vector<kernels::Ranked> best(DeviceCase::kPrompt * k), want(k);
  std::vector<runtime::StepRow> rows;
  for (std::size_t i = 0; i < DeviceCase::kPrompt; i++) {
    rows.push_back({static_cast<std::uint32_t>((i * 37 + 11) % vocabulary), i, 0, true, c.context});
    if (c.context) rows.back().segment = static_cast<std::uint8_t>(i % 2);
  }
  model.step(rows, runtime::StepLogits{logits, best, k, below});
  for (std::size_t r = 0; r < DeviceCase::kPrompt; r++) {
    kernels::top_k(std::span(c.want).subspan(r * vocabulary, std::min<std::size_t>(vocabulary, below)), want);
    for (std::size_t i = 0; i < k; i++) {
      CHECK(best[r * k + i].index == want[i].index);
      CHECK(best[r * k + i].value == want[i].value);
    }
  }
  return logits;
}

std::size_t check_placements(const DeviceCase& c, std::uint64_t seeds) {
  std::size_t ran = 0;
  for (std::uint64_t seed = 1; seed <= seeds; seed++) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    const auto device = std::make_shared<CheckedDevice>(
        CheckedDevice::Options{.memory_bytes = kMiB / 4 + random() % c.device_range, .refuses_pinning = seed % 4 == 0, .seed = seed});
    runtime::LoadOptions options = c.options;
    options.device = device;
    options.device_sides = random_sides(c.index, seed);
    if (const auto model = load_with(c.path, options, 5 * kMiB + random() % c.host_range)) {
      ran++;
      check_best(*model, c, 1 + random() % 7, seed % 2 ? ~0u : 50);
    }
    CHECK(device->first_error() == "");
  }
  return ran;
}

}  // namespace

TEST_CASE("the best logits from random placements on a device are those of the CPU") {
  const test::TemporaryFolder folder;
  const DeviceCase llama(synthesize_to(folder.file("model.leaf"), in_format(quant::FormatId::q8, 65536)), false, kernels::KvType::f16);
  CHECK(check_placements(llama, 10) > 4);
  DeviceCase ant(random_ant_to(folder.file("ant.leaf"), in_format(quant::FormatId::f32, 8192)), true, kernels::KvType::f32);
  ant.device_range = kMiB;
  ant.host_range = 3 * kMiB;
  CHECK(check_placements(ant, 10) > 4);
}

TEST_CASE("where the best logits are asked for, the others do not leave the device; the CPU gives the same") {
  const test::TemporaryFolder folder;
  const DeviceCase c(synthesize_to(folder.file("model.leaf"), in_format(quant::FormatId::q4, 65536)), false, kernels::KvType::f16);
  check_best(*runtime::Model::load(c.path, c.options), c, 40, 60);
  const auto device = std::make_shared<CheckedDevice>(CheckedDevice::Options{});
  runtime::LoadOptions options = c.options;
  options.device = device;
  {
    const auto model = runtime::Model::load(c.path, options);
    for (const float logit : check_best(*model, c, 40, 60)) CHECK(logit == 12345.0f);
    check_best(*model, c, std::min<std::size_t>(runtime::kMostBest, c.index.model.vocab_size), ~0u);
    const runtime::StepRow row{1, DeviceCase::kPrompt, 0, true};
    std::vector<float> logits(c.index.model.vocab_size);
    std::vector<kernels::Ranked> best(8);
    for (const runtime::StepLogits& wrong : {runtime::StepLogits{logits, best, 9, 60}, runtime::StepLogits{logits, best, 8, 7}})
      CHECK_THROWS_AS(model->step({&row, 1}, wrong), Error);
  }
  CHECK(device->first_error() == "");
}

TEST_CASE("tokens are the same from the best logits and from all of them, on a device and on the CPU, with drafts and without") {
  const test::TemporaryFolder folder;
  const DeviceCase c(synthesize_to(folder.file("model.leaf"), in_format(quant::FormatId::q8, 65536)), false, kernels::KvType::f16);
  runtime::LoadOptions options = c.options;
  options.draft_rows = 4;
  const auto host = runtime::Model::load(c.path, options);
  options.device = std::make_shared<CheckedDevice>(CheckedDevice::Options{.seed = 3});
  const auto on_device = runtime::Model::load(c.path, options);
  const std::vector<std::uint32_t> prompt = {1, 5, 9, 5, 9, 5, 9, 5};
  for (const float temperature : {0.0f, 0.9f})
    for (const std::uint32_t top_k : {0u, 1u, 40u, 1000u})
      for (const bool drafts : {false, true}) {
        CAPTURE(temperature);
        CAPTURE(top_k);
        runtime::GenerateOptions generation;
        generation.max_tokens = 24;
        generation.ignore_end = true;
        generation.sampling.temperature = temperature;
        generation.sampling.top_k = top_k;
        generation.sampling.seed = 11;
        if (drafts) generation.speculation.lookup = runtime::Lookup::always;
        std::vector<std::vector<std::uint32_t>> answers;
        for (runtime::Model* model : {host.get(), on_device.get()})
          for (const std::uint32_t logprobs : {0u, 1u}) {  // which need all logits
            model->truncate(0, 0);
            generation.logprobs = logprobs;
            answers.push_back(runtime::generate(*model, prompt, generation).ids);
          }
        for (const auto& answer : answers) CHECK(answer == answers.front());
      }
}
