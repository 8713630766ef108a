// leafcutter eval FILE: perplexity of a text or of ids, in windows, as llama.cpp's tool counts it.
#include <fmt/format.h>

#include <fstream>
#include <iterator>

#include "base/error.h"
#include "runtime/generate.h"
#include "tools/command.h"
#include "tools/console.h"
#include "tools/id_list.h"
#include "tools/load_flags.h"
#include "tools/model_source.h"
#include "tools/run_report.h"

namespace leafcutter::tools {
namespace {

struct EvalFlags {
  std::string model;
  std::string text_file, ids_file, activations = "int8";
  std::uint32_t task = 2;
  LoadFlags load;
};

std::string content_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw Error(ErrorKind::not_found, path, "cannot open");
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

}  // namespace

RunCommand add_eval(CLI::App& app) {
  auto flags = std::make_shared<EvalFlags>();
  flags->load.ctx_size = 512;
  app.add_option("FILE", flags->model, "a .leaf or a checkpoint")->required();
  auto* text = app.add_option("--text", flags->text_file, "a text file");
  auto* ids = app.add_option("--ids-file", flags->ids_file, "a file of decimal ids, white space between");
  text->excludes(ids);
  app.add_option("--activations", flags->activations,
                 "what quantized weights are multiplied with: int8 as in run, or f32 (slow; shows what the weights alone lose)")
      ->check(CLI::IsMember({"int8", "f32"}))
      ->capture_default_str();
  app.add_option("--task", flags->task, "CPM-Ant: the prompt slots in front of each window")->capture_default_str();
  add_load_flags(app, flags->load);
  app.parse_complete_callback([flags] {
    if (flags->text_file.empty() && flags->ids_file.empty()) throw CLI::RequiredError("--text or --ids-file");
  });
  return [flags](const CommonFlags& common) {
    const std::stop_token stop = stop_on_signal();
    Notes notes(common.quiet);
    const std::string path = resolve_model(flags->model, notes, stop);
    std::vector<std::uint32_t> tokens;
    if (!flags->ids_file.empty()) {
      tokens = parse_ids(content_of(flags->ids_file), flags->ids_file);
    } else {
      const auto tokenizer = load_tokenizer(path);
      if (!tokenizer) throw Error(ErrorKind::unsupported, path, "has no tokenizer inside", "give ids with --ids-file");
      tokens = tokenizer->encode(content_of(flags->text_file));
    }
    const std::uint64_t window = flags->load.ctx_size;
    runtime::LoadOptions options = flags->load.options(path);
    const std::uint64_t slots = prompt_slots_of(path);
    options.needed_positions = options.ctx_size = slots + window;  // the window is of tokens
    options.prompt_positions = slots + window / 2;
    options.f32_activations = flags->activations == "f32";
    options.logit_rows = 32;
    options.stop = stop;
    const auto model = runtime::Model::load(path, options);
    Progress progress("eval");
    const auto result = runtime::perplexity(
        *model, tokens, window,
        [&](std::uint64_t done, std::uint64_t total, const runtime::Perplexity& so_far) {
          progress.count(done, total, fmt::format("windows, perplexity {:.4f}", so_far.perplexity));
        },
        stop, flags->task);
    if (common.json)
      print_json({{"perplexity", result.perplexity},
                  {"mean_nll", result.mean_nll},
                  {"tokens", result.tokens},
                  {"windows", tokens.size() / window},
                  {"ctx_size", window}});
    else
      print_text(fmt::format("perplexity {:.4f}, mean negative log-likelihood {:.6f}, {} tokens of {} windows of {}\n", result.perplexity,
                             result.mean_nll, result.tokens, tokens.size() / window, window));
    notes.succeeded();
  };
}

}  // namespace leafcutter::tools
