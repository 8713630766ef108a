#include "tools/model_source.h"

#include <fmt/format.h>
#include <sys/stat.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "base/size_text.h"
#include "compress/checkpoint_source.h"
#include "compress/leaf_reader.h"
#include "tools/conversion.h"

namespace leafcutter::tools {
namespace {

namespace fs = std::filesystem;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

// What a conversion depends on: another one is made when any of it changes. A file counts as changed when its size or a time of it differs.
std::string fingerprint(const ConversionRequest& request) {
  std::string facts = fmt::format("format {} conversion 2;{};{};", compress::kFormatVersion, request.checkpoint.uncut_divisors,
                                  request.checkpoint.jieba_folder);
  for (const std::string& file : compress::files_of_checkpoint(request.input, request.checkpoint)) {
    struct stat info;
    if (::stat(file.c_str(), &info) != 0) continue;
    facts += fmt::format("{};{};{}.{};{}.{};", fs::absolute(file).lexically_normal().string(), info.st_size, info.st_mtim.tv_sec,
                         info.st_mtim.tv_nsec, info.st_ctim.tv_sec, info.st_ctim.tv_nsec);
  }
  return fmt::format("{:016x}", XXH3_64bits(facts.data(), facts.size()));
}

bool is_whole(const std::string& path) {
  try {
    compress::read_leaf_index(*open_file(path));
    return true;
  } catch (const Error&) { return false; }
}

}  // namespace

std::string cache_folder() {
  if (const std::string own = environment("LEAFCUTTER_CACHE"); !own.empty()) return own;
  if (const std::string xdg = environment("XDG_CACHE_HOME"); !xdg.empty()) return xdg + "/leafcutter";
  const std::string home = environment("HOME");
  return (home.empty() ? "/tmp" : home) + "/.cache/leafcutter";
}

std::string resolve_model(const std::string& model, Notes& notes, std::stop_token stop) {
  if (!compress::looks_like_checkpoint(model)) return model;
  const fs::path source = fs::path(model).lexically_normal();
  const std::string stem = (source.has_filename() ? source.stem() : source.parent_path().filename()).string();
  ConversionRequest request;
  request.input = model;
  request.output = (fs::path(cache_folder()) / fmt::format("{}-{}.q4.leaf", stem, fingerprint(request))).string();
  if (is_whole(request.output)) {
    notes.add(fmt::format("note: {} was converted before, to {}", model, request.output));
    return request.output;
  }
  std::error_code problem;
  fs::create_directories(cache_folder(), problem);
  if (problem) throw Error(ErrorKind::io, cache_folder(), "cannot create the cache folder: " + problem.message(), "set LEAFCUTTER_CACHE");
  const ConversionReport report = convert(request, stop);
  notes.add(fmt::format("note: {} was converted to INT4 once, into {} ({})", model, request.output, format_bytes(report.file_bytes)));
  return request.output;
}

}  // namespace leafcutter::tools
