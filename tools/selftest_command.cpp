// leafcutter selftest: does the device of this machine compute what the CPU does, and how fast is it? A table for people, and one JSON to send in.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "compress/shapes.h"
#include "kernels/cuda/embedded_ptx.h"
#include "offload/cublas_comparison.h"
#include "offload/device_selftest.h"
#include "tools/card_cache.h"
#include "tools/command.h"
#include "tools/console.h"
#include "tools/cuda_choice.h"
#include "tools/load_flags.h"
#include "tools/version.h"

namespace leafcutter::tools {
namespace {

using nlohmann::ordered_json;
using offload::SelftestLine;

struct SelftestFlags {
  LoadFlags load;
  std::string output;
};

// cuBLAS is compared where there is one, unless a flag says off.
std::shared_ptr<offload::Device> opened_device(const LoadFlags& load, Notes& notes) {
  if (load.device != "cuda") return load.options("").device;
  const CublasWish wish = load.cublas == "on" ? CublasWish::on : load.cublas == "off" ? CublasWish::off : CublasWish::where_present;
  return open_cuda_device({load.device_memory, load.gpu, wish}, [&](const std::string& text) { notes.add(text); });
}

// A folder for the tiny models, gone afterwards.
class Scratch {
 public:
  Scratch() : path_(std::filesystem::temp_directory_path() / fmt::format("leafcutter-selftest-{}", getpid())) {
    std::filesystem::create_directories(path_);
  }
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  std::string file(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

compress::ModelDescription tiny_llama() {
  compress::ModelDescription model = compress::find_shape("llama-1.1b").value();
  model.dim = 256;
  model.vocab_size = 300;
  model.context_length = 256;
  model.layers.resize(4);
  for (compress::LayerDescription& layer : model.layers) {
    layer.heads = 4;
    layer.kv_heads = 2;
    layer.head_dim = 64;
    layer.ff_width = 700;
  }
  return model;
}

compress::ModelDescription tiny_cpm_ant() {
  compress::ModelDescription model = compress::find_shape("cpm-ant-300m").value();
  model.dim = 256;
  model.vocab_size = 300;
  model.layers.resize(4);
  for (compress::LayerDescription& layer : model.layers) {
    layer = {};
    layer.heads = layer.kv_heads = 4;
    layer.head_dim = 64;
    layer.ff_width = 700;
  }
  model.segment_bias.columns = 4;
  return model;
}

struct Steps {
  std::vector<std::uint32_t> tokens;
  std::vector<float> logits;
};

constexpr std::size_t kPrompt = 17;

// A prompt, then the tokens with the highest logits.
Steps greedy(runtime::Model& model) {
  constexpr std::size_t kTokens = 12;
  const std::size_t vocabulary = model.index().model.vocab_size;
  const bool has_segments = model.index().model.position == compress::PositionKind::segment_relative_bias;
  std::vector<runtime::StepRow> rows;
  for (std::size_t i = 0; i < kPrompt; i++) {
    runtime::StepRow row{static_cast<std::uint32_t>((i * 37 + 11) % vocabulary), i, 0, i + 1 == kPrompt};
    if (has_segments) row.context = true, row.segment = static_cast<std::uint8_t>(i % 2);
    rows.push_back(row);
  }
  Steps steps;
  std::vector<float> logits(vocabulary);
  while (steps.tokens.size() < kTokens) {
    model.step(rows, logits);
    steps.logits.insert(steps.logits.end(), logits.begin(), logits.end());
    steps.tokens.push_back(static_cast<std::uint32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin()));
    rows.assign(1, {steps.tokens.back(), kPrompt + steps.tokens.size() - 1, 0, true});
  }
  return steps;
}

void check_model(const std::shared_ptr<offload::Device>& device, const std::string& path, const std::string& name,
                 const offload::SelftestReport& report) {
  runtime::LoadOptions options;
  options.ctx_size = 64;
  options.prompt_positions = kPrompt;
  options.threads = 2;
  options.without_tokenizer = true;
  try {
    const Steps want = greedy(*runtime::Model::load(path, options));
    options.device = device;
    const Steps got = greedy(*runtime::Model::load(path, options));
    double most = 0, largest = 0;
    for (std::size_t i = 0; i < want.logits.size(); i++) {
      most = std::max(most, std::isfinite(got.logits[i]) ? std::abs(double{got.logits[i]} - want.logits[i]) : HUGE_VAL);
      largest = std::max(largest, std::abs(double{want.logits[i]}));
    }
    const bool is_same = got.tokens == want.tokens;
    const double difference = std::isfinite(most) ? most / largest : -1;
    report({name, is_same,
            fmt::format("{} tokens {}; logits differ by {:.1e}", want.tokens.size(), is_same ? "as on the CPU" : "DIFFER from the CPU's",
                        difference),
            difference});
  } catch (const Error& e) { report({name, false, e.what(), -1}); }
}

void check_models(const std::shared_ptr<offload::Device>& device, const offload::SelftestReport& report) {
  const Scratch scratch;
  ThreadTeam team(2);
  const std::pair<compress::ModelDescription, const char*> models[] = {{tiny_llama(), "LLaMA"}, {tiny_cpm_ant(), "CPM-Ant"}};
  for (const auto& [model, model_name] : models)
    for (const auto& [format, format_name] : {std::pair{quant::FormatId::q4, "q4"}, std::pair{quant::FormatId::f16, "f16"}}) {
      compress::CompressOptions options;
      options.formats.body = format;
      options.formats.embedding = options.formats.head = format;
      options.writer.chunk_bytes = 65536;
      const std::string path = scratch.file(std::string(model_name) + format_name + ".leaf");
      compress::synthesize_model(model, options.formats, 1, options.writer, *create_file(path), team, {});
      check_model(device, path, fmt::format("tiny {} in {}", model_name, format_name), report);
    }
}

ordered_json facts_of(const offload::Device& device) {
  ordered_json facts = {
      {"name", device.properties().name}, {"memory", device.properties().memory_bytes}, {"copy_engines", device.properties().copy_engines}};
  if (const auto* cuda = dynamic_cast<const offload::CudaDevice*>(&device)) {
    facts["driver"] = offload::cuda_version_text(cuda->driver_version());
    facts["capability"] = fmt::format("{}.{}", cuda->card().capability_major, cuda->card().capability_minor);
    facts["card_memory"] = cuda->card().memory_bytes;
    facts["multiprocessors"] = cuda->card().multiprocessors;
    facts["context_bytes"] = cuda->overhead().context_bytes;
    facts["code_bytes"] = cuda->overhead().code_bytes;
    facts["code"] = cuda->runs_cubin() ? "cubin" : "ptx";
    if (cuda->cublas_version() > 0) {
      facts["cublas"] = offload::cublas_version_text(cuda->cublas_version());
      facts["cublas_bytes"] = cuda->overhead().cublas_bytes;
    }
  }
  return facts;
}

// What plans for the device are chosen by afterwards, where it is a card.
void measure_rates_of_plans(offload::Device& device, const offload::SelftestReport& report) {
  constexpr std::uint64_t kShare = 8;  // of the memory at most
  offload::DeviceProbe probe;
  probe.bytes = static_cast<std::size_t>(std::min<std::uint64_t>(probe.bytes, device.properties().memory_bytes / kShare));
  const auto* const cuda = dynamic_cast<const offload::CudaDevice*>(&device);
  if (cuda) probe.multiprocessors = cuda->card().multiprocessors;
  const offload::MeasuredDevice rates = measure_device_rates(device, probe);
  const auto line = [&](const char* name, double value, const char* unit) {
    report({name, std::nullopt, fmt::format("{:.2f} {}", value, unit), value});
  };
  line("copy of 256 bytes to the device", 1e6 * rates.link_latency_s, "us");
  line("kernel behind another one", 1e6 * rates.launch_s, "us");
  line("link to the device, one copy", rates.link_bytes_per_s / 1e9, "GB/s");
  line("weights read by a product q4 of one row", rates.weights_bytes_per_s / 1e9, "GB/s");
  line("product q4 of many rows", rates.int8_ops_per_s / 1e9, "Gop/s");
  line("product f16 of many rows", rates.f32_ops_per_s / 1e9, "Gop/s");
  if (cuda) keep_card_rates(cuda->card(), cuda->driver_version(), rates);
}

// What `--cublas auto` goes by afterwards.
void check_cublas(offload::Device& device, const offload::SelftestReport& report) {
  constexpr std::size_t kWidth = 2048;
  auto* const cuda = dynamic_cast<offload::CudaDevice*>(&device);
  if (!cuda || cuda->cublas_version() == 0) return;
  const offload::CublasComparison comparison = compare_cublas(*cuda, kWidth, report);
  keep_cublas_finding(cuda->card(), cuda->driver_version(), {comparison.version, comparison.is_worth_it()});
}

// Every line of the table, and how many did not pass.
struct Results {
  ordered_json lines = ordered_json::array();
  std::size_t failed = 0;
};

Results run_checks(const std::shared_ptr<offload::Device>& device, bool prints) {
  constexpr std::size_t kMostMeasured = 64 << 20;
  // A card has copy engines of its own. The emulation's copies and kernels share processors with whatever else runs.
  constexpr double kMostOverlap = 1.15;
  const std::optional<double> most_overlap =
      dynamic_cast<const offload::CudaDevice*>(device.get()) ? std::optional(kMostOverlap) : std::nullopt;
  Results results;
  const auto report = [&](const SelftestLine& line) {
    const char* const mark = !line.is_passed ? "    " : *line.is_passed ? "ok  " : "FAIL";
    if (prints) print_text(fmt::format("{}  {:44}  {}\n", mark, line.name, line.detail));
    results.failed += line.is_passed && !*line.is_passed;
    ordered_json entry = {{"name", line.name}, {"value", line.value}, {"detail", line.detail}};
    if (line.is_passed) entry["passed"] = *line.is_passed;
    results.lines.push_back(entry);
  };
  if (auto* const cuda = dynamic_cast<offload::CudaDevice*>(device.get())) cuda->use_cublas(false);  // our own are tested first
  const std::pair<const char*, std::function<void()>> parts[] = {
      {"copies", [&] { check_device_copies(*device, report); }},
      {"kernels", [&] { check_device_kernels(*device, report); }},
      {"tiny models", [&] { check_models(device, report); }},
      {"rates",
       [&] {
         measure_device(*device, std::min<std::uint64_t>(kMostMeasured, device->properties().memory_bytes / 2), report, most_overlap);
       }},
      {"rates for plans", [&] { measure_rates_of_plans(*device, report); }},
      {"cuBLAS", [&] { check_cublas(*device, report); }},
  };
  for (const auto& [name, part] : parts) {
    try {
      part();
    } catch (const offload::DeviceError& e) {
      device->drain();
      report({name, false, e.what(), -1});
    }
  }
  return results;
}

}  // namespace

RunCommand add_selftest(CLI::App& app) {
  auto flags = std::make_shared<SelftestFlags>();
  flags->load.device = "cuda";
  flags->load.cublas = "auto";
  app.add_option("--device", flags->load.device, "what is tested")->check(CLI::IsMember({"cuda", "emulated"}))->capture_default_str();
  app.add_option("-o,--output", flags->output, "the JSON goes into this file, too");
  add_device_flags(app, flags->load);
  return [flags](const CommonFlags& common) {
    Notes notes(common.quiet);
    const std::shared_ptr<offload::Device> device = opened_device(flags->load, notes);
    ordered_json facts = {{"version", version_text()}, {"device", facts_of(*device)}, {"kernels", gpu::embedded_ptx_note()}};
    if (!common.json) print_text(fmt::format("{}: {}\n", version_text(), device->properties().name));
    const Results results = run_checks(device, !common.json);
    facts["failed"] = results.failed;
    facts["lines"] = results.lines;
    if (common.json) print_json(facts);
    if (!flags->output.empty()) {
      const std::string text = facts.dump(1) + "\n";
      const auto file = create_file(flags->output);
      file->write_at(0, std::as_bytes(std::span(text)));
      file->commit();
    }
    if (results.failed > 0)
      throw Error(ErrorKind::device, device->properties().name, fmt::format("{} of {} checks failed", results.failed, results.lines.size()),
                  "send the JSON in, and use --device cpu");
    notes.succeeded();
    if (!common.json) print_text(fmt::format("all passed{}\n", flags->output.empty() ? "; --json or --output FILE is for sending in" : ""));
  };
}

}  // namespace leafcutter::tools
