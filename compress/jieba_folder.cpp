#include "compress/jieba_folder.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "compress/jieba_dictionary.h"

namespace leafcutter::compress {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFiles[] = {"dict.txt", "finalseg/prob_start.py", "finalseg/prob_trans.py", "finalseg/prob_emit.py"};

bool holds_jieba(const fs::path& folder) {
  std::error_code ignored;
  return std::all_of(std::begin(kFiles), std::end(kFiles), [&](const char* file) { return fs::is_regular_file(folder / file, ignored); });
}

// LIB/python3*/{site,dist}-packages/jieba, the highest version first.
std::optional<std::string> under(const fs::path& lib) {
  std::error_code error;
  std::vector<fs::path> versions;
  for (fs::directory_iterator entry(lib, error), end; !error && entry != end; entry.increment(error))
    if (entry->path().filename().string().starts_with("python3")) versions.push_back(entry->path());
  std::sort(versions.begin(), versions.end(), [](const fs::path& a, const fs::path& b) {
    const std::string x = a.filename().string(), y = b.filename().string();
    return x.size() != y.size() ? x.size() > y.size() : x > y;  // python3.11 before python3.9 before python3
  });
  for (const fs::path& version : versions)
    for (const char* packages : {"site-packages", "dist-packages"})
      if (const fs::path folder = version / packages / "jieba"; holds_jieba(folder)) return folder.string();
  return std::nullopt;
}

std::string content(const fs::path& path) {
  const auto file = open_file(path.string());
  if (file->size() > kJiebaFileBytes)
    throw Error(ErrorKind::bad_file, path.string(),
                "has " + std::to_string(file->size()) + " bytes; at most " + std::to_string(kJiebaFileBytes) + " are read");
  std::string text(file->size(), '\0');
  read_exactly(*file, 0, std::as_writable_bytes(std::span(text)), "text");
  return text;
}

}  // namespace

std::optional<std::string> find_jieba_folder() {
  std::vector<fs::path> libs;
  for (const auto& [variable, below] : {std::pair{"VIRTUAL_ENV", "lib"}, {"CONDA_PREFIX", "lib"}, {"HOME", ".local/lib"}})
    if (const char* value = std::getenv(variable); value && *value) libs.push_back(fs::path(value) / below);
  libs.insert(libs.end(), {"/usr/local/lib", "/usr/lib"});
  for (const fs::path& lib : libs)
    if (const auto folder = under(lib)) return folder;
  return std::nullopt;
}

std::vector<std::string> jieba_files(const std::string& folder) {
  const auto root = folder.empty() ? find_jieba_folder() : std::optional(folder);
  std::vector<std::string> files;
  for (const char* file : kFiles)
    if (root) files.push_back((fs::path(*root) / file).string());
  return files;
}

std::shared_ptr<const WordDictionary> read_jieba_folder(const std::string& folder) {
  const fs::path root(folder);
  std::error_code ignored;
  for (const char* file : kFiles)
    if (!fs::is_regular_file(root / file, ignored))
      throw Error(ErrorKind::not_found, (root / file).string(), "there is none", "--jieba wants the folder of an installed jieba");
  const std::string words = content(root / kFiles[0]), start = content(root / kFiles[1]), transitions = content(root / kFiles[2]),
                    emissions = content(root / kFiles[3]);
  return std::make_shared<const WordDictionary>(parse_jieba({words, start, transitions, emissions}, folder));
}

}  // namespace leafcutter::compress
