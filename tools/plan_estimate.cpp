#include "tools/plan_estimate.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/size_text.h"
#include "runtime/prompt_rows.h"
#include "runtime/step_program_builder.h"

namespace leafcutter::tools {

offload::Prediction predict_plan(const compress::LeafIndex& index, const offload::Plan& plan, const Rows& rows, kernels::KvType kv_type,
                                 const Wish& wish, const offload::HostRates& rates, const offload::ReadShape& reads) {
  const std::uint64_t prompt = runtime::prompt_slots(index.model) + wish.prompt_tokens, block = std::min(rows.per_pass, prompt);
  const std::uint64_t positions = prompt + wish.new_tokens / 2;  // on average
  const offload::StepProgram decode = runtime::step_program(index, wish.batch, positions, wish.batch, kv_type);
  offload::StepProgram prefill = runtime::step_program(index, block, prompt, 1, kv_type);
  prefill.block_rows = rows.per_step;
  return offload::predict(index, plan, decode, prefill, prompt * wish.batch, rates, reads);
}

runtime::LoadOptions options_for(const compress::LeafIndex& index, runtime::LoadOptions options, const Wish& wish) {
  options.prompt_positions = runtime::prompt_slots(index.model) + wish.prompt_tokens;
  options.needed_positions = options.prompt_positions + wish.new_tokens;
  options.sequences = options.logit_rows = wish.batch;
  return options;
}

Estimate estimate(const compress::LeafIndex& index, const runtime::LoadOptions& options, const Wish& wish, const offload::HostMemory& host,
                  std::uint64_t already_charged, const offload::HostRates& rates) {
  Estimate result;
  result.batch = wish.batch;
  result.planned = runtime::plan_model(index, options_for(index, options, wish), host, already_charged, nullptr);
  const runtime::PlannedModel& p = result.planned;
  result.prediction = predict_plan(index, p.plan, {p.rows_per_step, p.rows_per_pass}, p.kv_type, wish, rates, options.pager.reads);
  return result;
}

std::vector<Advice> advice(const compress::LeafIndex& index, const runtime::LoadOptions& options, const Wish& wish,
                           const offload::HostMemory& host, std::uint64_t already_charged, const offload::HostRates& rates,
                           const Estimate& now) {
  constexpr double kWorthSaying = 1.05;
  std::vector<Advice> list;
  const auto consider = [&](const std::string& change, const runtime::LoadOptions& other, const offload::HostRates& with) {
    try {
      const double gain = estimate(index, other, wish, host, already_charged, with).tokens_per_s() / now.tokens_per_s();
      if (gain >= kWorthSaying) list.push_back({change, gain});
    } catch (const Error&) {  // does not fit: no advice
    }
  };
  const offload::Plan& plan = now.planned.plan;
  const auto with_memory = [&](std::uint64_t bytes) {
    runtime::LoadOptions more = options;
    more.memory = SizeText{SizeText::Kind::bytes, bytes, 0};
    return more;
  };
  if (!plan.streamed.empty()) {
    const std::uint64_t all = plan.total + plan.streamed_bytes + (plan.streamed_bytes >> 7);
    for (const std::uint64_t more : {std::uint64_t{256} << 20, std::uint64_t{1} << 30, std::uint64_t{4} << 30})
      if (plan.budget + more < all) consider("+" + format_bytes(more) + " of memory", with_memory(plan.budget + more), rates);
    consider("--memory " + format_bytes(all) + ": all weights stay resident", with_memory(all), rates);
    offload::HostRates faster = rates;
    faster.disk_gb_s *= 2;
    consider("a disk twice as fast", options, faster);
    if (!options.kv_type || *options.kv_type != kernels::KvType::q8) {
      runtime::LoadOptions smaller = options;
      smaller.kv_type = kernels::KvType::q8;
      consider("--kv-type q8", smaller, rates);
    }
  }
  std::stable_sort(list.begin(), list.end(), [](const Advice& a, const Advice& b) { return a.gain > b.gain; });
  return list;
}

nlohmann::ordered_json step_json(const offload::StepPrediction& step) {
  return {{"seconds", step.seconds},           {"limit", step.limit},        {"disk_s", step.disk_seconds}, {"check_s", step.check_seconds},
          {"compute_s", step.compute_seconds}, {"wait_s", step.wait_seconds}};
}

}  // namespace leafcutter::tools
