// leafcutter compress IN -o OUT.leaf: a checkpoint to a .leaf.
#include <fmt/format.h>

#include "base/error.h"
#include "base/size_text.h"
#include "tools/command.h"
#include "tools/console.h"
#include "tools/conversion.h"
#include "tools/format_flags.h"
#include "tools/load_flags.h"

namespace leafcutter::tools {

RunCommand add_compress(CLI::App& app) {
  auto request = std::make_shared<ConversionRequest>();
  auto memory = std::make_shared<std::optional<SizeText>>();
  auto divisors = std::make_shared<std::string>("live");
  app.add_option("IN", request->input, "a model's folder, a .safetensors, .pt or .bin file or a .gguf")->required();
  app.add_option("-o,--output", request->output, "the .leaf to write")->required();
  add_format_flags(app, request->options.formats, true);
  add_writer_flags(app, request->options.writer);
  app.add_flag("--allow-nonfinite", request->options.allow_nonfinite,
               "take NaN and infinities (0 in quantized formats) instead of refusing them");
  app.add_option("--jieba", request->checkpoint.jieba_folder,
                 "folder of an installed jieba, for CPM-Ant's tokenizer (default: where Debian's python3-jieba and pip put it)");
  app.add_option(
         "--divisors", *divisors,
         "CPM-Ant with cut widths: divide by roots of the widths in the file (live, as CPM-Live) or before the cut (uncut, as in training)")
      ->check(CLI::IsMember({"live", "uncut"}))
      ->capture_default_str();
  app.add_option("-t,--threads", request->threads, "threads (default: all cores)")->check(CLI::Range(1, 1024));
  add_size_flag(app, "--memory", *memory, "budget; compress never needs more than 300MiB");
  return [request, memory, divisors](const CommonFlags& common) {
    constexpr std::uint64_t kNeed = std::uint64_t{300} << 20;
    if (*memory && (*memory)->resolve(~std::uint64_t{0} >> 1) < kNeed)
      throw Error(ErrorKind::out_of_budget, "--memory", "compress needs up to " + format_bytes(kNeed) + " for any model", "raise --memory");
    request->checkpoint.uncut_divisors = *divisors == "uncut";
    Notes notes(common.quiet);
    const ConversionReport report = convert(*request, stop_on_signal());
    for (const std::string& note : report.notes) notes.add("note: " + note);
    const double rate = report.seconds > 0 ? static_cast<double>(report.source_bytes) / report.seconds : 0;
    if (common.json)
      print_json({{"input", request->input},
                  {"output", request->output},
                  {"source_bytes", report.source_bytes},
                  {"file_bytes", report.file_bytes},
                  {"seconds", report.seconds},
                  {"source_bytes_per_s", rate},
                  {"notes", report.notes}});
    else
      print_text(fmt::format("{}: {} from {} in {:.1f} s ({}/s read)\n", request->output, format_bytes(report.file_bytes),
                             format_bytes(report.source_bytes), report.seconds, format_bytes(static_cast<std::uint64_t>(rate))));
    notes.succeeded();
  };
}

}  // namespace leafcutter::tools
