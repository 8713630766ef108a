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

// Names, sizes and times of all files of a checkpoint: another conversion is made when any of them changes.
std::string fingerprint(const std::string& path) {
  std::string facts = fmt::format("format {} conversion 1;", compress::kFormatVersion);
  const auto add = [&](const fs::path& file) {
    struct stat info;
    if (::stat(file.c_str(), &info) == 0)
      facts += fmt::format("{};{};{}.{};", file.string(), info.st_size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec);
  };
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    std::vector<fs::path> files;
    for (const fs::directory_entry& entry : fs::directory_iterator(path, ignored))
      if (entry.is_regular_file(ignored)) files.push_back(fs::absolute(entry.path()).lexically_normal());
    std::sort(files.begin(), files.end());
    for (const fs::path& file : files) add(file);
  } else {
    add(fs::absolute(path).lexically_normal());
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
  const std::string target = (fs::path(cache_folder()) / fmt::format("{}-{}.q4.leaf", stem, fingerprint(model))).string();
  if (is_whole(target)) {
    notes.add(fmt::format("note: {} was converted before, to {}", model, target));
    return target;
  }
  std::error_code problem;
  fs::create_directories(cache_folder(), problem);
  if (problem) throw Error(ErrorKind::io, cache_folder(), "cannot create the cache folder: " + problem.message(), "set LEAFCUTTER_CACHE");
  ConversionRequest request;
  request.input = model;
  request.output = target;
  const ConversionReport report = convert(request, stop);
  notes.add(fmt::format("note: {} was converted to INT4 once, into {} ({})", model, target, format_bytes(report.file_bytes)));
  return target;
}

}  // namespace leafcutter::tools
