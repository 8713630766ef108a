#include "tools/plan_card.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/size_text.h"
#include "tools/device_report.h"

namespace leafcutter::tools {
namespace {

using nlohmann::ordered_json;
using offload::CardCandidate;
using offload::CardStepTime;
using offload::DevicePlan;

constexpr double kWorthSaying = 1.05;

ordered_json card_step_json(const CardStepTime& time) {
  return {{"seconds", time.seconds},
          {"limit", time.limit()},
          {"bound_s", time.bound()},
          {"link_s", time.link},
          {"device_s", time.card},
          {"host_s", time.host},
          {"disk_s", time.disk},
          {"check_s", time.check},
          {"bound_link_s", time.bound_link},
          {"bound_device_s", time.bound_card},
          {"bound_host_s", time.bound_host},
          {"bound_disk_s", time.bound_disk},
          {"wait_link_s", time.wait_link},
          {"wait_host_s", time.wait_host},
          {"wait_disk_s", time.wait_disk},
          {"host_memory_bytes", time.host_memory_bytes}};
}

ordered_json device_tier_json(const DevicePlan& plan) {
  return {{"budget", plan.device_budget},          {"context", plan.context_bytes},       {"margin", plan.device_margin},
          {"kv_cache", plan.device_kv_bytes},      {"buffers", plan.device_buffer_bytes}, {"ring", plan.device_ring_bytes},
          {"weights", plan.device_resident_bytes}, {"total", plan.device_total}};
}

ordered_json host_tier_json(const DevicePlan& plan) {
  return {{"budget", plan.host_budget},        {"process", plan.host_fixed_bytes},     {"kv_cache", plan.host_kv_bytes},
          {"buffers", plan.host_buffer_bytes}, {"ring", plan.host_ring_bytes},         {"weights", plan.host_resident_bytes},
          {"table", plan.table_bytes},         {"page_tables", plan.page_table_bytes}, {"pinned", plan.pinned_bytes()},
          {"total", plan.host_total}};
}

}  // namespace

void add_card_flags(CLI::App& app, CardFlags& flags) {
  app.add_option("--card", flags.card,
                 "plan for a machine with this card, whatever this machine has: gtx1060-6gb, ... (a wrong name lists them)");
  app.add_option("--host", flags.host, "with --card: what the card is put into")->capture_default_str();
  add_size_flag(app, "--device-memory", flags.device_memory,
                "with --card: budget of device memory, the driver's context in it (default: what a display leaves)");
}

void check_card_flags(const CardFlags& flags) {
  if (!flags.card.empty()) offload::find_card(flags.card);
  offload::find_card_host(flags.host);
}

CardEstimate estimate_on_card(const PlannedIndex& model, const CardFlags& flags, const LoadFlags& load, const Wish& wish) {
  const offload::DeviceRates rates = rates_of(flags.card, flags.host, load);
  const auto& [card, host] = rates;
  runtime::CardOptions options;
  options.context_bytes = card.context_bytes;
  options.device_budget = flags.device_memory ? flags.device_memory->resolve(card.free_bytes()) : card.free_bytes();
  options.host.already_charged = host.process_bytes;
  options.host.available = host.memory_bytes - host.others_bytes - host.process_bytes;
  if (load.memory) {
    options.host.budget = load.memory->resolve(options.host.available);
    options.host.available = std::max(options.host.available, *options.host.budget);  // another host than that of the row
  }
  options.prompt_tokens = wish.prompt_tokens;
  options.new_tokens = wish.new_tokens;
  options.sequences = wish.batch;
  options.ctx_size = load.ctx_size;
  options.kv_type = load.kv_type;

  CardEstimate estimate;
  estimate.what = model.what;
  estimate.card = flags.card;
  estimate.host = flags.host;
  estimate.batch = wish.batch;
  estimate.file_bytes = model.index.file_bytes;
  estimate.request = runtime::card_request(model.index, options);
  estimate.prediction = offload::predict_card(model.index, estimate.request.request, estimate.request.wish, rates);
  return estimate;
}

ordered_json card_json(const CardEstimate& estimate) {
  const CardCandidate& best = estimate.best();
  ordered_json strategies = ordered_json::array();
  for (const CardCandidate& c : estimate.prediction.strategies)
    strategies.push_back({{"strategy", c.strategy},
                          {"tokens_per_s", static_cast<double>(estimate.batch) * c.tokens_per_s()},
                          {"prompt_s", c.prompt_seconds},
                          {"first_token_s", c.first_token_s()},
                          {"limit", c.decode.limit()},
                          {"host_share", c.host_share},
                          {"host_share_of_prompt", c.prefill_host_share},
                          {"device_weights", c.plan.device_resident_bytes},
                          {"host_weights", c.plan.host_resident_bytes},
                          {"streamed_bytes", c.plan.streamed_bytes}});
  return {{"model", estimate.what},
          {"card", estimate.card},
          {"host", estimate.host},
          {"tokens_per_s", estimate.tokens_per_s()},
          {"first_token_s", best.first_token_s()},
          {"limit", best.decode.limit()},
          {"peak", {{"device", best.plan.device_total}, {"host", best.plan.host_total}, {"disk", estimate.file_bytes}}},
          {"strategy", best.strategy},
          {"host_share", best.host_share},
          {"host_share_of_prompt", best.prefill_host_share},
          {"prompt_s", best.prompt_seconds},
          {"load_s", best.load_seconds},
          {"ctx_size", estimate.request.ctx_size},
          {"rows_per_pass", estimate.request.rows_per_pass},
          {"kv_type", kernels::kv_type_name(estimate.request.kv_type)},
          {"batch", estimate.batch},
          {"device", device_tier_json(best.plan)},
          {"host_memory", host_tier_json(best.plan)},
          {"disk", {{"streamed_each_step", best.plan.streamed_bytes}}},
          {"step", card_step_json(best.decode)},
          {"prefill", card_step_json(best.prefill)},
          {"strategies", strategies}};
}

std::string card_text(const CardEstimate& estimate) {
  const CardCandidate& best = estimate.best();
  std::string text = fmt::format("{} on {} in {}: predicted by simulation from the card table, no card was asked\n", estimate.what,
                                 estimate.card, estimate.host);
  text += device_plan_text(best.plan);
  text += fmt::format("context {}, rows a pass {}, KV {}\n", estimate.request.ctx_size, estimate.request.rows_per_pass,
                      kernels::kv_type_name(estimate.request.kv_type));
  text += fmt::format("predicted: {:.2f} tok/s, limited by {}; first token after {:.2f} s (prompt {:.2f} s, loading {:.2f} s)\n",
                      estimate.tokens_per_s(), best.decode.limit(), best.first_token_s(), best.prompt_seconds, best.load_seconds);
  return text + device_prediction_text(estimate.prediction, estimate.batch);
}

std::string card_advice(const CardEstimate& now, const std::string& model, const std::string& format, const CardFlags& card,
                        const LoadFlags& load, const Wish& wish) {
  double most = kWorthSaying;
  std::string advice;
  const auto consider = [&](const std::string& change, const std::string& with_format, const LoadFlags& with_load) {
    try {
      const double gain = estimate_on_card(index_to_plan(model, with_format), card, with_load, wish).tokens_per_s() / now.tokens_per_s();
      if (gain < most) return;
      most = gain;
      advice = fmt::format("faster by {:.2f}x: {}", gain, change);
    } catch (const Error&) {  // does not fit: no advice
    }
  };
  if (!has_formats(model) && !format.empty() && format != "q4") consider("--format q4", "q4", load);
  LoadFlags small_kv = load;
  small_kv.kv_type = kernels::KvType::q8;
  consider("--kv-type q8", format, small_kv);
  if (now.best().plan.streamed_bytes > 0) {
    const std::uint64_t all = now.best().plan.host_total + now.best().plan.streamed_bytes + (now.best().plan.streamed_bytes >> 7);
    LoadFlags more = load;
    more.memory = SizeText{SizeText::Kind::bytes, all, 0};
    consider(fmt::format("--memory {}: nothing is read from disk", format_bytes(all)), format, more);
  }
  return advice;
}

}  // namespace leafcutter::tools
