// leafcutter profile MODEL: runs a prompt of random ids and some tokens under observation, and shows where the time and the memory went, beside what was predicted.
#include <fmt/format.h>

#include "base/error.h"
#include "base/size_text.h"
#include "compress/leaf_reader.h"
#include "offload/host_memory.h"
#include "runtime/generate.h"
#include "tools/command.h"
#include "tools/console.h"
#include "tools/conversion.h"
#include "tools/load_flags.h"
#include "tools/model_source.h"
#include "tools/plan_estimate.h"
#include "tools/profile_page.h"
#include "tools/rates_cache.h"
#include "tools/run_report.h"

namespace leafcutter::tools {
namespace {

using nlohmann::ordered_json;

struct ProfileFlags {
  std::string model, page = "profile.html", trace;
  std::uint64_t prompt_tokens = 128, tokens = 16;
  bool measure = false;
  LoadFlags load;
};

std::vector<std::uint32_t> some_ids(std::uint64_t count, std::uint32_t limit) {
  std::vector<std::uint32_t> ids;
  for (std::uint64_t i = 0; i < count; i++) ids.push_back(static_cast<std::uint32_t>((i * 0x9e3779b97f4a7c15ull >> 33) % limit));
  return ids;
}

std::string report_text(const ordered_json& report) {
  std::string text = fmt::format("{:8} {:>10} {:>10} {:>7} {:>7} {:>8} {:>8} {:>8}\n", "phase", "measured", "predicted", "disk", "checks",
                                 "compute", "waiting", "overlap");
  for (const auto& phase : report["phases"]) {
    const double seconds = std::max(phase["seconds"].get<double>(), 1e-9);
    const auto& waits = phase["waits"];
    const double waited = waits["room"].get<double>() + waits["disk"].get<double>() + waits["check"].get<double>();
    const auto share = [&](double part) { return fmt::format("{:.0f} %", 100 * part / seconds); };
    const auto predicted = report["predicted"].find(phase["phase"].get<std::string>() + "_s");
    text += fmt::format("{:8} {:>8.3f} s {:>10} {:>7} {:>7} {:>8} {:>8} {:>8.2f}\n", phase["phase"].get<std::string>(), seconds,
                        predicted != report["predicted"].end() ? fmt::format("{:.3f} s", predicted->get<double>()) : "",
                        share(phase["disk_s"].get<double>()), share(phase["check_s"].get<double>()),
                        share(phase["compute_s"].get<double>()), share(waited), phase["overlap"].get<double>());
  }
  return text +
         fmt::format("{:.2f} tok/s, {}; {}\n", report["tokens_per_s"].get<double>(), predicted_speed(report), predicted_peak(report));
}

// On a device: for the card, by what the plan was chosen by; nothing where it was not.
ordered_json predicted_json(const runtime::Model& model, const runtime::LoadOptions& options, const Wish& wish,
                            const offload::HostRates& rates, std::size_t steps) {
  const auto count = static_cast<double>(steps);
  if (model.device_plan()) {
    if (!model.device_prediction()) return ordered_json::object();
    const offload::CardCandidate& best = model.device_prediction()->best();
    return {{"tokens_per_s", best.tokens_per_s()},
            {"limit", best.decode.limit()},
            {"load_s", best.load_seconds},
            {"prompt_s", best.prompt_seconds},
            {"decode_s", best.decode.seconds * count}};
  }
  const offload::Prediction prediction = predict_plan(model.index(), model.plan(), {model.rows_per_step(), model.rows_per_pass()},
                                                      model.kv_type(), wish, rates, options.pager.reads);
  return {{"tokens_per_s", prediction.tokens_per_s},
          {"limit", prediction.decode.limit},
          {"load_s", prediction.load_seconds},
          {"prompt_s", prediction.prefill.seconds},
          {"decode_s", prediction.decode.seconds * count}};
}

void profile(const ProfileFlags& flags, const CommonFlags& common) {
  const std::stop_token stop = stop_on_signal();
  Notes notes(common.quiet);
  const std::string path = resolve_model(flags.model, notes, stop);
  if (flags.load.clock != "real") throw Error(ErrorKind::usage, "--clock " + flags.load.clock, "a profile is of real time", "use bench");
  runtime::LoadOptions options = flags.load.options(path);
  if (options.threads == 0) options.threads = all_cores();

  // Rates first, so that measuring them disturbs nothing.
  const compress::LeafIndex index = compress::read_leaf_index(*open_file(path));
  offload::HostRates rates = host_rates({options.threads, path, offload::products_of(index), flags.measure}).rates;
  offload::restart_peak();
  flags.load.apply_link(rates);
  const Wish wish{flags.prompt_tokens, flags.tokens, 1};
  options = options_for(index, options, wish);

  Recording recording;
  recording.begin_phase("load");
  options.pager.trace = &recording.trace();
  const auto model = runtime::Model::load(path, options);
  const RunMeter meter(*model);
  recording.begin_phase("prompt");
  runtime::GenerateOptions generate;
  generate.max_tokens = flags.tokens;
  generate.ignore_end = true;
  generate.sampling.temperature = 0;
  bool decoding = false;
  const runtime::GenerationResult result = runtime::generate(
      *model, some_ids(flags.prompt_tokens, model->token_limit()), generate,
      [&](const runtime::GeneratedToken&) {
        if (!std::exchange(decoding, true)) recording.begin_phase("decode");
      },
      stop);
  recording.finish();

  ordered_json report = {{"model", path},
                         {"prompt_tokens", flags.prompt_tokens},
                         {"tokens", result.ids.size()},
                         {"tokens_per_s", result.tokens_per_second()},
                         {"predicted", predicted_json(*model, options, wish, rates, result.ids.size() - 1)},
                         {"phases", phases_json(recording)},
                         {"dropped_events", recording.dropped()}};
  report.update(meter.json());
  // Its memory is this process's.
  if (flags.load.device == "emulated") report["memory"]["emulated_device"] = model->account().total(offload::Tier::device);
  if (!flags.trace.empty()) write_chrome_trace(flags.trace, recording, model->index());
  write_profile_page(flags.page, report, recording, model->index());
  notes.succeeded();
  if (common.json)
    print_json(report);
  else
    print_text(report_text(report) + "page: " + flags.page + "\n");
}

}  // namespace

RunCommand add_profile(CLI::App& app) {
  auto flags = std::make_shared<ProfileFlags>();
  app.add_option("MODEL", flags->model, "a .leaf or a checkpoint")->required();
  app.add_option("-p,--prompt-tokens", flags->prompt_tokens, "prompt's length")->check(CLI::Range(1, 1 << 20))->capture_default_str();
  app.add_option("-n,--n-predict", flags->tokens, "tokens to generate")->check(CLI::Range(2, 1 << 20))->capture_default_str();
  app.add_option("-o,--output", flags->page, "the page (HTML)")->capture_default_str();
  app.add_option("--trace", flags->trace, "also the events, for Perfetto or chrome://tracing (JSON)");
  app.add_flag("--measure", flags->measure, "measure this machine's rates again");
  add_load_flags(app, flags->load);
  add_device_flags(app, flags->load);
  return [flags](const CommonFlags& common) { profile(*flags, common); };
}

}  // namespace leafcutter::tools
