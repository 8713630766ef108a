// leafcutter synth SHAPE -o FILE: random weights of a known shape, straight into a .leaf.
#include <fmt/format.h>

#include <chrono>

#include "base/error.h"
#include "base/file.h"
#include "base/size_text.h"
#include "compress/shapes.h"
#include "tools/command.h"
#include "tools/console.h"
#include "tools/conversion.h"
#include "tools/format_flags.h"

namespace leafcutter::tools {
namespace {

struct SynthFlags {
  std::string shape, output;
  compress::FormatChoice formats;
  compress::LeafWriterOptions writer = {.chunk_bytes = 0};
  std::uint64_t seed = 1;
};

}  // namespace

RunCommand add_synth(CLI::App& app) {
  auto flags = std::make_shared<SynthFlags>();
  std::vector<std::string> names(compress::shape_names().begin(), compress::shape_names().end());
  app.add_option("SHAPE", flags->shape, "llama-1.1b, smollm2-135m, llama-48x4096, cpm-ant-10b, -7b, -3b, -1b, -300m")
      ->required()
      ->check(CLI::IsMember(names));
  app.add_option("-o,--output", flags->output, "the .leaf to write")->required();
  add_format_flags(app, flags->formats, false);
  add_writer_flags(app, flags->writer);
  app.add_option("-s,--seed", flags->seed, "the same seed gives the same bytes")->capture_default_str();
  return [flags](const CommonFlags& common) {
    const std::stop_token stop = stop_on_signal();
    const auto start = std::chrono::steady_clock::now();
    const auto file = create_file(flags->output);
    ThreadTeam team(all_cores());
    Progress progress("synth");
    compress::synthesize_model(*compress::find_shape(flags->shape), flags->formats, flags->seed, flags->writer, *file, team,
                               [&](std::uint64_t done, std::uint64_t total) {
                                 if (stop.stop_requested())
                                   throw Error(ErrorKind::cancelled, flags->output, "stopped on request; nothing was left behind");
                                 progress.bytes(done, total);
                               });
    const std::uint64_t bytes = open_file(flags->output)->size();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (common.json)
      print_json({{"shape", flags->shape}, {"output", flags->output}, {"file_bytes", bytes}, {"seconds", seconds}});
    else
      print_text(fmt::format("{}: {} in {:.1f} s, random weights, no tokenizer inside\n", flags->output, format_bytes(bytes), seconds));
  };
}

}  // namespace leafcutter::tools
