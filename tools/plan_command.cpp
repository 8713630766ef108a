// leafcutter plan MODEL: what would go where, every buffer, peak, predicted speed and what limits it. The same code decides as in `run`.
#include <fmt/format.h>

#include "base/size_text.h"
#include "offload/host_memory.h"
#include "offload/prediction.h"
#include "runtime/model.h"
#include "tools/command.h"
#include "tools/console.h"
#include "tools/conversion.h"
#include "tools/load_flags.h"
#include "tools/planned_index.h"
#include "tools/run_report.h"

namespace leafcutter::tools {
namespace {

using nlohmann::ordered_json;

struct PlanFlags {
  std::string model, format;
  std::uint64_t prompt_tokens = 128;
  std::optional<SizeText> disk_rate;
  LoadFlags load;
};

std::string text_of(const PlannedIndex& model, const ordered_json& facts, const offload::Plan& plan) {
  std::string text = fmt::format("{}: {:.2f} M parameters, weights {}\n", model.what,
                                 static_cast<double>(compress::parameter_count(model.index.model)) / 1e6,
                                 format_bytes(facts["weight_bytes"].get<std::uint64_t>()));
  const auto row = [&](const std::string& name, std::uint64_t bytes, const std::string& remark = {}) {
    text += fmt::format("  {:28} {:>10}{}{}\n", name, format_bytes(bytes), remark.empty() ? "" : "  ", remark);
  };
  row("budget", plan.budget);
  row("process and margin", plan.fixed_bytes);
  for (const offload::BufferNeed& buffer : plan.buffers) row(buffer.name, buffer.bytes);
  row("ring of streamed chunks", plan.ring_bytes);
  row("resident weights", plan.resident_bytes, fmt::format("{} chunks", facts["resident_chunks"].get<std::uint64_t>()));
  row("predicted peak", plan.total);
  row("streamed each step", plan.streamed_bytes, fmt::format("{} chunks", plan.streamed.size()));
  text += fmt::format("context {}, rows a step {}, KV {}\n", facts["ctx_size"].get<std::uint64_t>(),
                      facts["rows_per_step"].get<std::uint64_t>(), facts["kv_type"].get<std::string>());
  text += fmt::format("predicted: {:.2f} tok/s, limited by {}; first token after {:.2f} s (prompt of {})\n",
                      facts["tokens_per_s"].get<double>(), facts["limit"].get<std::string>(), facts["first_token_s"].get<double>(),
                      facts["prompt_tokens"].get<std::uint64_t>());
  const auto& rates = facts["rates"];
  text += fmt::format("rates of this machine: memory {:.1f} GB/s, products {:.0f} Gop/s, disk {:.2f} GB/s{}\n",
                      rates["memory_gb_s"].get<double>(), rates["int8_gop_s"].get<double>(), rates["disk_gb_s"].get<double>(),
                      rates["disk_assumed"].get<bool>() ? " (assumed: there is no file to measure; --disk-rate)" : "");
  return text;
}

}  // namespace

RunCommand add_plan(CLI::App& app) {
  auto flags = std::make_shared<PlanFlags>();
  app.add_option("MODEL", flags->model, "a .leaf, a checkpoint (only its headers are read), or a shape's name such as llama-48x4096")
      ->required();
  app.add_option("--format", flags->format, "format to plan a checkpoint or shape in (default: q4)");
  app.add_option("-p,--prompt-tokens", flags->prompt_tokens, "prompt's length for the time to the first token")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  add_size_flag(app, "--disk-rate", flags->disk_rate, "bytes a second that the disk reads (default: measured on the model's file)");
  add_load_flags(app, flags->load);
  return [flags](const CommonFlags& common) {
    const PlannedIndex model = index_to_plan(flags->model, flags->format);
    runtime::LoadOptions options = flags->load.options();
    options.needed_positions = flags->prompt_tokens;
    const std::size_t threads = options.threads > 0 ? options.threads : all_cores();
    options.threads = threads;
    const runtime::PlannedModel planned =
        runtime::plan_model(model.index, options, offload::host_memory(), offload::charged_bytes(), model.tokenizer.get());
    offload::HostRates rates = offload::measure_host_rates(threads, flags->disk_rate ? std::string() : model.disk_file);
    if (flags->disk_rate) {
      rates.disk_gb_s = static_cast<double>(flags->disk_rate->resolve(0)) / 1e9;
      rates.disk_assumed = false;
    }
    const offload::Prediction prediction =
        offload::predict(model.index, planned.plan, planned.decode, planned.prefill, flags->prompt_tokens, rates);
    std::uint64_t weights = 0;
    for (const compress::ModuleEntry& m : model.index.modules) weights += m.bytes;
    ordered_json facts = {{"model", model.what},
                          {"tokens_per_s", prediction.tokens_per_s},
                          {"first_token_s", prediction.first_token_s},
                          {"limit", prediction.limit},
                          {"peak", {{"host", planned.plan.total}, {"disk", model.index.file_bytes}}},
                          {"parameters", compress::parameter_count(model.index.model)},
                          {"weight_bytes", weights},
                          {"ctx_size", planned.ctx_size},
                          {"rows_per_step", planned.rows_per_step},
                          {"kv_type", kernels::kv_type_name(planned.kv_type)},
                          {"prompt_tokens", flags->prompt_tokens},
                          {"rates",
                           {{"memory_gb_s", rates.memory_gb_s},
                            {"int8_gop_s", rates.int8_gop_s},
                            {"disk_gb_s", rates.disk_gb_s},
                            {"disk_assumed", rates.disk_assumed}}}};
    facts.update(plan_json(planned.plan));
    if (common.json)
      print_json(facts);
    else
      print_text(text_of(model, facts, planned.plan));
  };
}

}  // namespace leafcutter::tools
