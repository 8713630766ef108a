// leafcutter bench FILE: speed of prefill and decode on random ids, beside the read probe of the same minutes. Each repetition alternates probe, prefill and decode.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "base/page_buffer.h"
#include "kernels/read_probe.h"
#include "runtime/prompt_rows.h"
#include "runtime/sampler.h"
#include "tools/command.h"
#include "tools/console.h"
#include "tools/elapsed.h"
#include "tools/load_flags.h"
#include "tools/model_source.h"
#include "tools/run_report.h"

namespace leafcutter::tools {
namespace {

using Clock = std::chrono::steady_clock;
using nlohmann::ordered_json;

struct BenchFlags {
  std::string model;
  std::uint64_t prompt_tokens = 512, tokens = 64, repetitions = 5;
  std::uint64_t rows = 1;
  bool no_probe = false;
  LoadFlags load;
};

// Time on the clock of the device, where it has one.
class Stopwatch {
 public:
  explicit Stopwatch(const offload::Device* device) : device_(device), start_(now()) {}
  double seconds() const { return now() - start_; }

 private:
  double now() const {
    const auto of_device = device_ ? device_->clock_seconds() : std::nullopt;
    return of_device.value_or(std::chrono::duration<double>(Clock::now().time_since_epoch()).count());
  }
  const offload::Device* device_;
  const double start_;
};

struct Series {
  std::vector<double> values;
  double at(double quantile) const {
    std::vector<double> sorted = values;
    std::sort(sorted.begin(), sorted.end());
    return sorted.empty() ? 0 : sorted[static_cast<std::size_t>(quantile * static_cast<double>(sorted.size() - 1) + 0.5)];
  }
};

void put(ordered_json& facts, const std::string& name, const Series& series) {
  facts[name] = series.at(0.5);
  facts[name + "_min"] = series.at(0);
  facts[name + "_max"] = series.at(1);
}

// The probe reads a buffer larger than any cache, shared among the same threads.
class ReadProbe {
 public:
  explicit ReadProbe(std::size_t threads) : team_(threads), buffer_(kBytes, "read probe") {}

  double gigabytes_per_second() {
    std::uint64_t sink = 0;
    const auto start = Clock::now();
    team_.run(kPieces, [&](std::size_t piece, std::size_t) {
      const std::uint64_t sum = kernels::read_all(buffer_.bytes().subspan(piece * (kBytes / kPieces), kBytes / kPieces));
      __atomic_fetch_xor(&sink, sum, __ATOMIC_RELAXED);
    });
    const double seconds = seconds_since(start);
    buffer_.data()[0] = static_cast<std::byte>(sink & 1);
    return static_cast<double>(kBytes) / seconds / 1e9;
  }

 private:
  static constexpr std::size_t kBytes = std::size_t{512} << 20, kPieces = 128;
  ThreadTeam team_;
  PageBuffer buffer_;
};

// Bytes of weights and scales that one step moves: every chunk that it visits, and of an embedding that is no head nothing worth counting.
std::uint64_t step_bytes(const compress::LeafIndex& index) {
  std::uint64_t bytes = 0;
  for (const compress::ModuleEntry& m : index.modules)
    if (m.kind != compress::ModuleKind::embedding || index.model.tied_head) bytes += m.bytes;
  return bytes;
}

std::uint32_t id_at(std::uint64_t position, std::uint32_t sequence, std::uint32_t limit, std::uint64_t salt) {
  const std::uint64_t mixed = (salt * 1000003 + sequence * 7919 + position) * 0x9e3779b97f4a7c15ull;
  return static_cast<std::uint32_t>((mixed >> 33) % limit);
}

std::vector<runtime::StepRow> rows_at(const runtime::Model& model, std::uint64_t count, std::uint64_t position, std::uint32_t sequences,
                                      std::uint64_t salt) {
  std::vector<runtime::StepRow> rows;
  for (std::uint32_t s = 0; s < sequences; s++)
    for (std::uint64_t i = position; i < position + count; i++)
      rows.push_back(runtime::text_row(model, id_at(i, s, model.token_limit(), salt), i, s, i + 1 == position + count));
  return rows;
}

// As a generation would give it: CPM-Ant's slots in front, all rows context.
std::vector<runtime::StepRow> prompt_of(const runtime::Model& model, std::uint64_t tokens, std::uint64_t salt) {
  std::vector<std::uint32_t> ids;
  for (std::uint64_t i = 0; i < tokens; i++) ids.push_back(id_at(i, 0, model.token_limit(), salt));
  return runtime::prompt_rows(model, ids, runtime::kTextTask);
}

}  // namespace

RunCommand add_bench(CLI::App& app) {
  auto flags = std::make_shared<BenchFlags>();
  app.add_option("FILE", flags->model, "a .leaf or a checkpoint")->required();
  app.add_option("-p,--prompt-tokens", flags->prompt_tokens, "prompt's length; 0: no prefill")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  app.add_option("-n,--n-predict", flags->tokens, "tokens decoded a repetition; 0: no decode")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  app.add_option("-r,--repetitions", flags->repetitions, "repetitions")->check(CLI::Range(1, 1000))->capture_default_str();
  app.add_option("--rows", flags->rows, "sequences decoded together, one row each a step")->check(CLI::Range(1, 64))->capture_default_str();
  app.add_flag("--no-probe", flags->no_probe, "leave the read probe out (it takes 512 MiB)");
  add_load_flags(app, flags->load);
  add_device_flags(app, flags->load);
  return [flags](const CommonFlags& common) {
    const std::stop_token stop = stop_on_signal();
    Notes notes(common.quiet);
    const std::string path = resolve_model(flags->model, notes, stop);
    runtime::LoadOptions options = flags->load.options(path, &notes);
    const std::uint64_t context = 8;  // decode begins here, so that the figure is that of the weights
    options.prompt_positions = prompt_slots_of(path) + flags->prompt_tokens;
    options.needed_positions = std::max(options.prompt_positions, context + flags->tokens);
    options.sequences = flags->rows;
    options.logit_rows = flags->rows;
    options.stop = stop;
    const auto model = runtime::Model::load(path, options);
    check_clock(flags->load, *model);
    std::optional<ReadProbe> probe;
    if (flags->load.clock == "real" && !flags->no_probe && !flags->load.memory) probe.emplace(model->threads());

    const auto rows = static_cast<std::uint32_t>(flags->rows);
    const std::uint64_t bytes = step_bytes(model->index());
    std::vector<float> logits(flags->rows * model->index().model.vocab_size);
    // A device hands out what `run` samples from, and keeps the others.
    const std::size_t best_a_row = options.device ? std::min(runtime::Sampler({}).best_needed(), model->token_limit()) : 0;
    std::vector<kernels::Ranked> best(flags->rows * best_a_row);
    const runtime::StepLogits wanted{logits, best, best_a_row, model->token_limit()};
    Series prefill, decode, gigabytes, reads, share;
    Progress progress("bench");
    const RunMeter meter(*model);
    for (std::uint64_t r = 0; r <= flags->repetitions; r++) {  // the first one warms up
      progress.count(r, flags->repetitions, "repetitions");
      if (flags->prompt_tokens > 0) {
        model->truncate(0, 0);
        const auto prompt = prompt_of(*model, flags->prompt_tokens, r);
        const Stopwatch watch(options.device.get());
        model->step(prompt, wanted, stop);
        if (r > 0) prefill.values.push_back(static_cast<double>(flags->prompt_tokens) / watch.seconds());
      }
      if (flags->tokens > 0) {
        for (std::uint32_t s = 0; s < rows; s++) model->truncate(s, 0);
        model->step(rows_at(*model, context, 0, rows, r), wanted, stop);
        const double before = probe && r > 0 ? probe->gigabytes_per_second() : 0;
        const Stopwatch watch(options.device.get());
        for (std::uint64_t i = 0; i < flags->tokens; i++) model->step(rows_at(*model, 1, context + i, rows, r), wanted, stop);
        const double seconds = watch.seconds();
        const double after = probe && r > 0 ? probe->gigabytes_per_second() : 0;
        if (r == 0) continue;
        decode.values.push_back(static_cast<double>(flags->tokens * rows) / seconds);
        gigabytes.values.push_back(static_cast<double>(bytes * flags->tokens) / seconds / 1e9);
        if (probe) {
          reads.values.push_back((before + after) / 2);
          share.values.push_back(gigabytes.values.back() / reads.values.back());
        }
      }
    }
    ordered_json facts = {{"file", path},        {"prompt_tokens", flags->prompt_tokens}, {"tokens", flags->tokens},
                          {"rows", flags->rows}, {"repetitions", flags->repetitions},     {"step_bytes", bytes}};
    if (options.device) facts["clock"] = flags->load.clock;
    if (const offload::CardPrediction* prediction = model->device_prediction()) {
      facts["predicted_tok_s"] = prediction->best().tokens_per_s();
      facts["predicted_prompt_s"] = prediction->best().prompt_seconds;
    }
    put(facts, "prefill_tok_s", prefill);
    put(facts, "decode_tok_s", decode);
    put(facts, "decode_gb_s", gigabytes);
    if (probe) {
      put(facts, "probe_gb_s", reads);
      put(facts, "decode_share_of_probe", share);
    }
    facts.update(meter.json());
    if (common.json) {
      print_json(facts);
    } else {
      const auto range = [](const Series& s) { return fmt::format("{:.2f} [{:.2f}-{:.2f}]", s.at(0.5), s.at(0), s.at(1)); };
      std::string text = fmt::format("{}, {} threads, {}, median [min-max] of {}\n", kernels::isa_name(model->isa()), model->threads(),
                                     path, flags->repetitions);
      if (!prefill.values.empty()) text += fmt::format("prefill of {:5}  {} tok/s\n", flags->prompt_tokens, range(prefill));
      if (!decode.values.empty())
        text += fmt::format("decode of {:6}  {} tok/s, {} GB/s of weights\n", flags->tokens, range(decode), range(gigabytes));
      if (!reads.values.empty())
        text += fmt::format("read probe        {} GB/s: decode is at {:.0f} % [{:.0f}-{:.0f}]\n", range(reads), share.at(0.5) * 100,
                            share.at(0) * 100, share.at(1) * 100);
      if (const offload::CardPrediction* prediction = model->device_prediction())
        text += fmt::format("predicted for the card  {:.2f} tok/s, prompt {:.4f} s{}\n", prediction->best().tokens_per_s(),
                            prediction->best().prompt_seconds,
                            flags->load.device != "emulated" || flags->load.clock == "virtual"
                                ? ""
                                : " (times above are those of its emulation: --clock virtual)");
      print_text(text);
    }
    notes.succeeded();
  };
}

}  // namespace leafcutter::tools
