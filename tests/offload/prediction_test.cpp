#include "offload/prediction.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "compress/compress_model.h"
#include "compress/leaf_writer.h"
#include "offload/chunk_sizes.h"
#include "tests/support/small_llama.h"

using namespace leafcutter;
using namespace leafcutter::offload;

namespace {

constexpr double kComputeSeconds = 0.002;  // of a feed-forward module's rows, all of them

compress::LeafIndex tiny_index() {
  const compress::ModelDescription model = leafcutter::test::describe({});
  return compress::lay_out_leaf(model, compress::plan_tensors(model, {}), 65536);
}

// Rates at which nothing but attention's operations takes time worth counting.
HostRates fast_rates(double disk_gb_s) {
  HostRates rates;
  rates.memory_gb_s = rates.check_gb_s = rates.decode_gb_s = 1e9;
  rates.attention_gop_s = rates.attention_one_row_gop_s = 1;
  rates.disk_gb_s = disk_gb_s;
  return rates;
}

// Only feed-forward modules, each with kComputeSeconds of work for `rows` rows.
StepProgram program_of(const compress::LeafIndex& index, std::uint64_t rows, std::uint64_t block_rows) {
  StepProgram program;
  program.rows = rows;
  program.block_rows = block_rows;
  for (std::uint32_t m = 0; m < index.modules.size(); m++)
    if (index.modules[m].kind == compress::ModuleKind::feed_forward)
      program.modules.push_back({m, rows, static_cast<std::uint64_t>(kComputeSeconds * 1e9), 0, 0});
  return program;
}

Plan all_streamed(const compress::LeafIndex& index, const StepProgram& program, std::uint64_t ring) {
  Plan plan;
  plan.resident.assign(index.chunks.size(), true);
  for (const StepModule& step : program.modules) {
    const compress::ModuleEntry& module = index.modules[step.module];
    for (std::uint32_t c = module.first_chunk; c < module.first_chunk + module.chunk_count; c++) {
      plan.resident[c] = false;
      plan.streamed.push_back(c);
    }
  }
  plan.ring_bytes = ring;
  return plan;
}

std::uint64_t streamed_bytes(const compress::LeafIndex& index, const Plan& plan) {
  return std::accumulate(plan.streamed.begin(), plan.streamed.end(), std::uint64_t{0},
                         [&](std::uint64_t sum, std::uint32_t c) { return sum + stored_pages(index.chunks[c]); });
}

bool near(double value, double expected, double share) { return std::abs(value - expected) <= share * expected; }

}  // namespace

TEST_CASE("a prompt in one pass reads each weight once, in several passes once for each") {
  const compress::LeafIndex index = tiny_index();
  const StepProgram program = program_of(index, 64, 64);
  const Plan plan = all_streamed(index, program, 1 << 20);
  const double disk_seconds = static_cast<double>(streamed_bytes(index, plan)) / 0.001e9;
  const HostRates rates = fast_rates(0.001);
  CHECK(near(predict(index, plan, program, program, 64, rates, {}).prefill.disk_seconds, disk_seconds, 0.01));
  CHECK(near(predict(index, plan, program, program, 192, rates, {}).prefill.disk_seconds, 3 * disk_seconds, 0.01));
}

TEST_CASE("attention of one row goes at a rate of its own, that of many rows at theirs") {
  const compress::LeafIndex index = tiny_index();
  const StepProgram one = program_of(index, 1, 1), many = program_of(index, 64, 64);
  const Plan plan = all_streamed(index, many, 1 << 20);
  HostRates rates = fast_rates(1e9);
  const StepPrediction before = predict(index, plan, one, many, 64, rates, {}).decode;
  rates.attention_one_row_gop_s /= 10;
  const Prediction slow_rows = predict(index, plan, one, many, 64, rates, {});
  CHECK(near(slow_rows.decode.compute_seconds, 10 * before.compute_seconds, 0.01));
  CHECK(near(slow_rows.prefill.compute_seconds, before.compute_seconds, 0.01));
  rates = fast_rates(1e9);
  rates.attention_gop_s /= 10;
  const Prediction slow_blocks = predict(index, plan, one, many, 64, rates, {});
  CHECK(near(slow_blocks.decode.compute_seconds, before.compute_seconds, 0.01));
  CHECK(near(slow_blocks.prefill.compute_seconds, 10 * before.compute_seconds, 0.01));
}

TEST_CASE("heads that share keys wait once for them to come from memory") {
  const compress::LeafIndex index = tiny_index();
  StepProgram apart = program_of(index, 1, 1), shared = apart;
  for (StepModule& module : shared.modules) module.heads_a_key = 4;
  const Plan plan = all_streamed(index, apart, 1 << 20);
  HostRates rates = fast_rates(1e9);
  rates.attention_one_row_gop_s /= 10;
  const auto compute_seconds = [&](const StepProgram& program) {
    return predict(index, plan, program, program, 1, rates, {}).decode.compute_seconds;
  };
  CHECK(near(compute_seconds(shared), compute_seconds(apart) * (10.0 / 4 + 3.0 / 4) / 10, 0.01));
  // Keys of more bytes than those that were measured: no faster than memory gives them.
  for (StepModule& module : apart.modules) module.kv_bytes = static_cast<std::uint64_t>(kComputeSeconds * 1e9) * 100;
  rates.memory_gb_s = 1;
  CHECK(near(compute_seconds(apart), static_cast<double>(apart.modules.size()) * kComputeSeconds * 100, 0.01));
}

TEST_CASE("a module that is held for its blocks of rows leaves the ring no room to read ahead") {
  const compress::LeafIndex index = tiny_index();
  const StepProgram whole = program_of(index, 64, 0), blocks = program_of(index, 64, 16);
  std::uint64_t module = 0;
  for (std::uint32_t c = 0; c < index.modules[whole.modules[0].module].chunk_count; c++)
    module += slot_bytes(index.chunks[index.modules[whole.modules[0].module].first_chunk + c]);
  const double modules = static_cast<double>(whole.modules.size());
  // As fast as computing: reading hides wholly behind it where the ring has room for the next module.
  const HostRates rates = fast_rates(static_cast<double>(module) / kComputeSeconds / 1e9);
  const auto prefill = [&](const StepProgram& program, std::uint64_t ring) {
    return predict(index, all_streamed(index, program, ring), program, program, 64, rates, {}).prefill;
  };
  const double read_or_compute = modules * kComputeSeconds;
  CHECK(near(prefill(whole, 2 * module).seconds, read_or_compute + kComputeSeconds, 0.15));
  CHECK(near(prefill(blocks, 2 * module).seconds, read_or_compute + kComputeSeconds, 0.15));
  // With room for one module only: three quarters of the computing wait for the last chunk, and the next module's first for their end.
  const double in_turn = prefill(blocks, module).seconds;
  CHECK(in_turn > 1.6 * read_or_compute);
  CHECK(in_turn <= 2 * read_or_compute * 1.01);
  for (const StepProgram& program : {whole, blocks}) CHECK(near(prefill(program, module).compute_seconds, modules * kComputeSeconds, 0.01));
}
