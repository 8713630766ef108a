#include "tools/run_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/file.h"
#include "compress/leaf_reader.h"
#include "runtime/prompt_rows.h"
#include "tools/device_report.h"
#include "tools/elapsed.h"

namespace leafcutter::tools {
namespace {

using nlohmann::ordered_json;

double share(double part, double whole) { return whole > 0 ? std::min(1.0, part / whole) : 0; }

}  // namespace

RunMeter::RunMeter(const runtime::Model& model)
    : model_(model), before_(model.pager_stats()), busy_before_(model.compute_busy_seconds()), start_(std::chrono::steady_clock::now()) {}

ordered_json RunMeter::json() const {
  const double wall = seconds_since(start_);
  const offload::PagerStats now = model_.pager_stats();
  const offload::PeakMemory peak = offload::peak_memory();
  ordered_json accounts = ordered_json::array();
  for (const offload::AccountEntry& entry : model_.account().entries())
    accounts.push_back({{"name", entry.name}, {"tier", offload::tier_name(entry.tier)}, {"bytes", entry.bytes}});
  return {{"memory", {{"budget", model_.plan().budget}, {"peak", peak.bytes}, {"source", peak.source}, {"planned", model_.plan().total}}},
          {"read_bytes", now.read_bytes},
          {"streamed_bytes", now.read_bytes - before_.read_bytes},
          {"load_s", now.load_seconds},
          {"wait_s", now.wait_seconds - before_.wait_seconds},
          {"disk_busy", share(now.disk_busy_seconds - before_.disk_busy_seconds, wall)},
          {"cores_busy", share(model_.compute_busy_seconds() - busy_before_, wall * static_cast<double>(model_.threads()))},
          {"io", {{"backend", now.backend}, {"direct", now.direct}, {"huge_pages", now.huge_pages}}},
          {"isa", kernels::isa_name(model_.isa())},
          {"threads", model_.threads()},
          {"ctx_size", model_.ctx_size()},
          {"kv_type", kernels::kv_type_name(model_.kv_type())},
          {"accounts", accounts}};
}

std::string RunMeter::text(std::size_t prompt_tokens, const runtime::GenerationResult& result) const {
  const ordered_json facts = json();
  const auto& memory = facts["memory"];
  return fmt::format(
      "{} prompt tokens in {:.2f} s, {} tokens at {:.1f} tok/s ({}); memory: budget {}, peak {} ({}); {} read, {} of it while running; "
      "disk {:.0f} % busy, cores {:.0f} % busy",
      prompt_tokens, result.prefill_seconds, result.ids.size(), result.tokens_per_second(), result.finish_reason,
      format_bytes(memory["budget"].get<std::uint64_t>()), format_bytes(memory["peak"].get<std::uint64_t>()),
      memory["source"].get<std::string>(), format_bytes(facts["read_bytes"].get<std::uint64_t>()),
      format_bytes(facts["streamed_bytes"].get<std::uint64_t>()), facts["disk_busy"].get<double>() * 100,
      facts["cores_busy"].get<double>() * 100);
}

ordered_json speculation_json(const runtime::SpeculationReport& report) {
  const auto count = [](const runtime::DraftCount& c) -> ordered_json {
    return {{"steps", c.steps},           {"drafted", c.drafted},         {"accepted", c.accepted},
            {"rejections", c.rejections}, {"acceptance", c.acceptance()}, {"draft_s", c.seconds}};
  };
  return {{"steps", report.steps},         {"lookup", count(report.lookup)},          {"model", count(report.model)},
          {"one_row_s", report.one_row_s}, {"predicted_gain", report.predicted_gain}, {"measured_gain", report.measured_gain}};
}

std::string speculation_text(const runtime::SpeculationReport& report) {
  std::string text;
  const auto add = [&](const char* name, const runtime::DraftCount& c) {
    if (c.steps == 0) return;
    text += fmt::format("{}{}: {} of {} drafts right in {} steps, acceptance {:.2f}", text.empty() ? "" : "; ", name, c.accepted, c.drafted,
                        c.steps, c.acceptance());
  };
  add("look-up", report.lookup);
  add("draft model", report.model);
  if (!text.empty() && report.one_row_s > 0)
    text += fmt::format("; gain {:.2f}, {:.2f} by acceptance and cost", report.measured_gain, report.predicted_gain);
  return text;
}

ordered_json plan_json(const offload::Plan& plan) {
  ordered_json buffers = ordered_json::array();
  for (const offload::BufferNeed& buffer : plan.buffers) buffers.push_back({{"name", buffer.name}, {"bytes", buffer.bytes}});
  return {{"budget", plan.budget},
          {"total", plan.total},
          {"process_bytes", plan.fixed_bytes},
          {"resident_bytes", plan.resident_bytes},
          {"resident_chunks", std::count(plan.resident.begin(), plan.resident.end(), true)},
          {"streamed_bytes", plan.streamed_bytes},
          {"streamed_chunks", plan.streamed.size()},
          {"ring_bytes", plan.ring_bytes},
          {"buffers", buffers}};
}

namespace {

std::string device_text(const runtime::Model& model) {
  std::string text = "plan:\n" + device_plan_text(*model.device_plan());
  text += fmt::format("ctx-size {}, rows a step {}, KV {}, {} threads, {}", model.ctx_size(), model.rows_per_step(),
                      kernels::kv_type_name(model.kv_type()), model.threads(), kernels::isa_name(model.isa()));
  const offload::CardPrediction* prediction = model.device_prediction();
  if (!prediction) return text + "; what is not on the device is copied in each step";
  text += fmt::format("\npredicted for the card (an emulation takes its own time): {:.2f} tok/s, limited by {}; prompt {:.2f} s\n",
                      prediction->best().tokens_per_s(), prediction->best().decode.limit(), prediction->best().prompt_seconds);
  text += device_prediction_text(*prediction, 1);
  text.pop_back();
  return text;
}

}  // namespace

std::string plan_text(const runtime::Model& model) {
  if (model.device_plan()) return device_text(model);
  const offload::Plan& plan = model.plan();
  std::string text = fmt::format("plan: budget {}, predicted peak {}\n  process and margin  {}\n", format_bytes(plan.budget),
                                 format_bytes(plan.total), format_bytes(plan.fixed_bytes));
  for (const offload::BufferNeed& buffer : plan.buffers) text += fmt::format("  {:19} {}\n", buffer.name, format_bytes(buffer.bytes));
  text += fmt::format("  {:19} {}\n  {:19} {}\n  streamed each step  {} in {} chunks; ctx-size {}, rows a step {}, KV {}, {} threads, {}",
                      "ring", format_bytes(plan.ring_bytes), "resident weights", format_bytes(plan.resident_bytes),
                      format_bytes(plan.streamed_bytes), plan.streamed.size(), model.ctx_size(), model.rows_per_step(),
                      kernels::kv_type_name(model.kv_type()), model.threads(), kernels::isa_name(model.isa()));
  return text;
}

std::uint64_t prompt_slots_of(const std::string& path) { return runtime::prompt_slots(compress::read_leaf_index(*open_file(path)).model); }

std::unique_ptr<runtime::Tokenizer> load_tokenizer(const std::string& path) {
  const auto file = open_file(path);
  const compress::LeafIndex index = compress::read_leaf_index(*file);
  auto section = compress::read_tokenizer_section(*file, index);
  if (section.empty()) return nullptr;
  compress::TokenizerData data = compress::tokenizer_from_section(section, path);
  section = std::vector<std::byte>();
  return std::make_unique<runtime::Tokenizer>(std::move(data), path);
}

}  // namespace leafcutter::tools
