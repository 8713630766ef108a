#include "tools/format_flags.h"

#include "base/error.h"
#include "base/size_text.h"

namespace leafcutter::tools {
namespace {

std::vector<std::string> writable_formats(bool keep) {
  std::vector<std::string> names;
  for (const quant::Format& format : quant::formats())
    if (format.encode) names.push_back(format.name);
  if (keep) names.push_back("keep");
  return names;
}

}  // namespace

void add_format_flags(CLI::App& app, compress::FormatChoice& formats, bool keep) {
  app.add_option_function<std::string>(
         "--format",
         [&formats](const std::string& name) {
           formats.keep = name == "keep";
           if (!formats.keep) formats.body = quant::find_format(name)->id;
         },
         keep ? "format of the matrices (default: q4); keep: no rounding at all" : "format of the matrices (default: q4)")
      ->check(CLI::IsMember(writable_formats(keep)));
  app.add_option_function<std::string>(
         "--head-format", [&formats](const std::string& name) { formats.head = quant::find_format(name)->id; },
         "format of the head (default: as --format)")
      ->check(CLI::IsMember(writable_formats(false)));
  app.add_option_function<std::string>(
         "--embedding-format", [&formats](const std::string& name) { formats.embedding = quant::find_format(name)->id; },
         "format of the embedding (default: q8 beside quantized matrices; of a tied model the head's)")
      ->check(CLI::IsMember(writable_formats(false)));
}

void add_writer_flags(CLI::App& app, compress::LeafWriterOptions& options) {
  app.add_option_function<std::string>(
         "--codec", [&options](const std::string& name) { options.codec = name == "zstd" ? compress::Codec::zstd : compress::Codec::none; },
         "none or zstd (default: none)")
      ->check(CLI::IsMember({"none", "zstd"}));
  app.add_option("--zstd-level", options.zstd_level, "1 to 9")->check(CLI::Range(1, 9))->capture_default_str();
  app.add_option_function<std::string>(
         "--chunk-size",
         [&options](const std::string& text) {
           try {
             options.chunk_bytes = parse_size(text, "--chunk-size").resolve(0);
           } catch (const Error& e) { throw CLI::ValidationError(e.what()); }
           if (options.chunk_bytes < 64 || options.chunk_bytes > compress::kMaxChunkBytes)
             throw CLI::ValidationError("--chunk-size: expected 64 bytes to 4MiB");
         },
         "most bytes of a chunk (default: by the size of the model, 512KiB to 4MiB)")
      ->type_name("SIZE");
}

}  // namespace leafcutter::tools
