// leafcutter plan MODEL: what would go where, every buffer, peak, predicted speed and what limits it. The same code decides as in `run`.
#include <fmt/format.h>

#include "base/error.h"
#include "base/size_text.h"
#include "offload/host_memory.h"
#include "tools/command.h"
#include "tools/console.h"
#include "tools/conversion.h"
#include "tools/load_flags.h"
#include "tools/plan_card_command.h"
#include "tools/plan_estimate.h"
#include "tools/plan_sweep.h"
#include "tools/planned_index.h"
#include "tools/rates_cache.h"
#include "tools/run_report.h"

namespace leafcutter::tools {
namespace {

using nlohmann::ordered_json;

struct PlanFlags {
  std::string model, format, picture;
  std::optional<std::string> sweep;
  Wish wish;
  bool measure = false;
  LoadFlags load;
  CardFlags card;
};

struct Planning {
  runtime::LoadOptions options;
  offload::HostMemory host;
  std::uint64_t charged = 0;
};

// A budget given in bytes may be that of another machine: then this one's memory is not asked.
Planning planning_of(const PlanFlags& flags) {
  Planning planning{flags.load.options(""), offload::host_memory(), offload::charged_bytes()};
  if (planning.options.threads == 0) planning.options.threads = all_cores();
  if (planning.options.memory && planning.options.memory->kind == SizeText::Kind::bytes)
    planning.host.available = std::max(planning.host.available, planning.options.memory->bytes);
  return planning;
}

// What reads will be like is known afterwards, too.
offload::HostRates rates_of(const PlanFlags& flags, const PlannedIndex& model, Planning& planning) {
  RatesRequest request{planning.options.threads, model.disk_file, offload::products_of(model.index), flags.measure};
  offload::HostRates rates = host_rates(request).rates;
  flags.load.apply_link(rates);
  planning.options.pager.reads = flags.load.options(model.disk_file).pager.reads;  // as `run` will find it
  return rates;
}

std::string summary_text(const PlannedIndex& model, const ordered_json& facts, const Estimate& now, std::uint64_t available) {
  const offload::Plan& plan = now.planned.plan;
  std::string text = fmt::format("{}: {:.2f} M parameters, weights {}\n", model.what,
                                 static_cast<double>(compress::parameter_count(model.index.model)) / 1e6,
                                 format_bytes(facts["weight_bytes"].get<std::uint64_t>()));
  const auto row = [&](const std::string& name, std::uint64_t bytes, const std::string& remark = {}) {
    text += fmt::format("  {:28} {:>10}{}{}\n", name, format_bytes(bytes), remark.empty() ? "" : "  ", remark);
  };
  row("budget", plan.budget, plan.budget > available ? "more than this machine has" : "");
  row("process and margin", plan.fixed_bytes);
  for (const offload::BufferNeed& buffer : plan.buffers) row(buffer.name, buffer.bytes);
  row("ring of streamed chunks", plan.ring_bytes);
  row("resident weights", plan.resident_bytes, fmt::format("{} chunks", facts["resident_chunks"].get<std::uint64_t>()));
  row("predicted peak", plan.total);
  row("streamed each step", plan.streamed_bytes, fmt::format("{} chunks", plan.streamed.size()));
  text += fmt::format("context {}, rows a step {}, KV {}\n", facts["ctx_size"].get<std::uint64_t>(),
                      facts["rows_per_step"].get<std::uint64_t>(), facts["kv_type"].get<std::string>());
  const auto step = [&](const char* name, const offload::StepPrediction& s) {
    text += fmt::format("  {:8} {:>9.4f} s: disk {:.4f}, check {:.4f}, compute {:.4f}, waiting {:.4f}; limited by {}\n", name, s.seconds,
                        s.disk_seconds, s.check_seconds, s.compute_seconds, s.wait_seconds, s.limit);
  };
  text += fmt::format("predicted: {:.2f} tok/s, limited by {}; first token after {:.2f} s (prompt of {}, of it loading {:.2f} s)\n",
                      now.tokens_per_s(), now.prediction.decode.limit, now.prediction.first_token_s,
                      facts["prompt_tokens"].get<std::uint64_t>(), now.prediction.load_seconds);
  step("a step", now.prediction.decode);
  step("prompt", now.prediction.prefill);
  for (const auto& hint : facts["advice"])
    text += fmt::format("faster by {:.2f}x: {}\n", hint["gain"].get<double>(), hint["change"].get<std::string>());
  const auto& rates = facts["rates"];
  text += fmt::format("rates: memory {:.1f} GB/s, disk {:.2f} GB/s{}, checks {:.1f} GB/s a thread, products",
                      rates["memory_gb_s"].get<double>(), rates["disk_gb_s"].get<double>(),
                      rates["disk_assumed"].get<bool>() ? " (assumed: there is no file to measure; --link disk=RATE)" : "",
                      rates["check_gb_s"].get<double>());
  for (const auto& product : rates["products"])
    text += fmt::format(" {} of {}: {:.1f} GB/s or {:.0f} Gop/s;", product["layout"].get<std::string>(), product["k"].get<std::uint64_t>(),
                        product["one_row_gb_s"].get<double>(), product["many_rows_gop_s"].get<double>());
  if (rates["disturbed"].get<bool>()) text += "; measured while others used the processors: too slow, and not kept";
  return text + "\n";
}

// Each format has a layout of its own.
std::string layout_name(kernels::Layout layout) {
  for (const quant::Format& format : quant::formats())
    if (format.layout == layout) return format.name;
  return "?";
}

ordered_json rates_json(const offload::HostRates& rates) {
  ordered_json products = ordered_json::array();
  for (const offload::ProductRates& p : rates.products)
    products.push_back(
        {{"layout", layout_name(p.layout)}, {"k", p.k}, {"one_row_gb_s", p.one_row_gb_s}, {"many_rows_gop_s", p.many_rows_gop_s}});
  return {{"memory_gb_s", rates.memory_gb_s},
          {"disk_gb_s", rates.disk_gb_s},
          {"disk_assumed", rates.disk_assumed},
          {"read_latency_s", rates.read_latency_s},
          {"read_bytes", rates.reads.bytes},
          {"reads_in_flight", rates.reads.in_flight},
          {"lookup_s", rates.lookup_s},
          {"disturbed", rates.disturbed},
          {"check_gb_s", rates.check_gb_s},
          {"decode_gb_s", rates.decode_gb_s},
          {"attention_gop_s", rates.attention_gop_s},
          {"attention_one_row_gop_s", rates.attention_one_row_gop_s},
          {"meeting_s", rates.meeting_s},
          {"compute_beside_check", rates.compute_beside_check},
          {"check_beside_compute", rates.check_beside_compute},
          {"products", products}};
}

void plan_once(const PlanFlags& flags, const CommonFlags& common) {
  const PlannedIndex model = index_to_plan(flags.model, flags.format);
  Planning planning = planning_of(flags);
  // Refused before anything is measured, where it must be.
  runtime::plan_model(model.index, options_for(model.index, planning.options, flags.wish), planning.host, planning.charged, nullptr);
  const offload::HostRates rates = rates_of(flags, model, planning);
  const Estimate now = estimate(model.index, planning.options, flags.wish, planning.host, planning.charged, rates);
  std::uint64_t weights = 0;
  for (const compress::ModuleEntry& m : model.index.modules) weights += m.bytes;
  ordered_json hints = ordered_json::array();
  for (const Advice& hint : advice(model.index, planning.options, flags.wish, planning.host, planning.charged, rates, now))
    hints.push_back({{"change", hint.change}, {"gain", hint.gain}});
  ordered_json facts = {{"model", model.what},
                        {"tokens_per_s", now.tokens_per_s()},
                        {"first_token_s", now.prediction.first_token_s},
                        {"limit", now.prediction.decode.limit},
                        {"peak", {{"host", now.planned.plan.total}, {"disk", model.index.file_bytes}}},
                        {"parameters", compress::parameter_count(model.index.model)},
                        {"weight_bytes", weights},
                        {"ctx_size", now.planned.ctx_size},
                        {"rows_per_step", now.planned.rows_per_step},
                        {"kv_type", kernels::kv_type_name(now.planned.kv_type)},
                        {"prompt_tokens", flags.wish.prompt_tokens},
                        {"new_tokens", flags.wish.new_tokens},
                        {"batch", flags.wish.batch},
                        {"load_s", now.prediction.load_seconds},
                        {"step", step_json(now.prediction.decode)},
                        {"prefill", step_json(now.prediction.prefill)},
                        {"advice", hints},
                        {"rates", rates_json(rates)}};
  facts.update(plan_json(now.planned.plan));
  if (common.json)
    print_json(facts);
  else
    print_text(summary_text(model, facts, now, offload::host_memory().available));
}

void plan_sweep(const PlanFlags& flags, const CommonFlags& common) {
  const SweepRange range = parse_sweep(*flags.sweep);
  const std::vector<std::string> formats = formats_of(flags.model, flags.format);
  Planning planning = planning_of(flags);
  planning.host.available = std::max(planning.host.available, range.high);
  std::vector<SweepPoint> points;
  std::string what;
  for (const std::string& format : formats) {
    const PlannedIndex model = index_to_plan(flags.model, format);
    const offload::HostRates rates = rates_of(flags, model, planning);
    what = flags.model;
    for (std::size_t i = 0; i < range.points; i++) {
      SweepPoint point;
      point.format = format.empty() ? "as it is" : format;
      point.memory = range.low + static_cast<std::uint64_t>(static_cast<double>(range.high - range.low) * static_cast<double>(i) /
                                                            static_cast<double>(range.points - 1));
      runtime::LoadOptions options = planning.options;
      options.memory = SizeText{SizeText::Kind::bytes, point.memory, 0};
      try {
        const Estimate now = estimate(model.index, options, flags.wish, planning.host, planning.charged, rates);
        point.fits = true;
        point.tokens_per_s = now.tokens_per_s();
        point.first_token_s = now.prediction.first_token_s;
        point.limit = now.prediction.decode.limit;
        point.resident_bytes = now.planned.plan.resident_bytes;
        point.streamed_bytes = now.planned.plan.streamed_bytes;
      } catch (const Error& e) {
        if (e.kind() != ErrorKind::out_of_budget) throw;
        point.refusal = e.what();
      }
      points.push_back(point);
    }
  }
  if (!flags.picture.empty()) write_sweep_picture(flags.picture, what, points);
  if (common.json)
    for (const SweepPoint& point : points) print_json(sweep_json(point));
  else
    print_text(sweep_text(points) + (flags.picture.empty() ? "" : "picture: " + flags.picture + "\n"));
}

}  // namespace

RunCommand add_plan(CLI::App& app) {
  auto flags = std::make_shared<PlanFlags>();
  app.add_option("MODEL", flags->model, "a .leaf, a checkpoint (only its headers are read), or a shape's name such as llama-48x4096")
      ->required();
  app.add_option("--format", flags->format,
                 "format to plan a checkpoint or shape in (default: q4); with --sweep several, separated by commas");
  app.add_option("-p,--prompt-tokens", flags->wish.prompt_tokens, "prompt's length for the time to the first token")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app.add_option("-n,--n-predict", flags->wish.new_tokens, "tokens to generate: the context has room for them")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app.add_option("-b,--batch", flags->wish.batch, "sequences that decode together")->check(CLI::Range(1, 256))->capture_default_str();
  app.add_flag("--measure", flags->measure, "measure this machine's rates again");
  app.add_option("--sweep", flags->sweep,
                 "memory=LOW:HIGH[:POINTS] or card=all or card=NAME,..: a table of speed against memory, or of cards");
  app.add_option("-o,--output", flags->picture, "picture of the sweep: .svg or .html");
  add_load_flags(app, flags->load);
  add_card_flags(app, flags->card);
  app.parse_complete_callback([flags] {
    try {
      if (flags->sweep && is_card_sweep(*flags->sweep))
        parse_card_sweep(*flags->sweep);
      else if (flags->sweep)
        parse_sweep(*flags->sweep);
      check_card_flags(flags->card);
    } catch (const Error& e) { throw CLI::ValidationError(e.what()); }
    const bool card_sweep = flags->sweep && is_card_sweep(*flags->sweep);
    if (!flags->card.card.empty() && flags->sweep) throw CLI::ValidationError("--card", "goes without --sweep; write --sweep card=NAME,..");
    if (flags->card.device_memory && flags->card.card.empty() && !card_sweep)
      throw CLI::ValidationError("--device-memory", "goes with --card");
    if (!flags->picture.empty() && (!flags->sweep || !(flags->picture.ends_with(".svg") || flags->picture.ends_with(".html"))))
      throw CLI::ValidationError("-o", "goes with --sweep and ends in .svg or .html");
  });
  return [flags](const CommonFlags& common) {
    if (flags->sweep && is_card_sweep(*flags->sweep))
      plan_card_sweep({flags->model, flags->format, flags->wish, flags->load, flags->card}, *flags->sweep, flags->picture, common);
    else if (flags->sweep)
      plan_sweep(*flags, common);
    else if (!flags->card.card.empty())
      plan_on_card({flags->model, flags->format, flags->wish, flags->load, flags->card}, common);
    else
      plan_once(*flags, common);
  };
}

}  // namespace leafcutter::tools
