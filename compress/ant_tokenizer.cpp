#include "compress/ant_tokenizer.h"

#include <filesystem>
#include <span>

#include "base/error.h"
#include "base/file.h"
#include "compress/ant_vocabulary.h"
#include "compress/jieba_folder.h"

namespace leafcutter::compress {
namespace {

namespace fs = std::filesystem;

std::string content(const std::string& path) {
  const auto file = open_file(path);
  if (file->size() > kAntVocabularyBytes)
    throw Error(ErrorKind::bad_file, path,
                "has " + std::to_string(file->size()) + " bytes; at most " + std::to_string(kAntVocabularyBytes) + " are read");
  std::string text(file->size(), '\0');
  read_exactly(*file, 0, std::as_writable_bytes(std::span(text)), "text");
  return text;
}

}  // namespace

std::optional<TokenizerData> ant_tokenizer(const std::string& folder, std::uint32_t vocab_size, const std::string& jieba_folder,
                                           std::vector<std::string>& notes) {
  const auto jieba = jieba_folder.empty() ? find_jieba_folder() : std::optional(jieba_folder);
  for (const char* name : {"ant.txt", "vocab.txt"}) {
    const fs::path path = fs::path(folder) / name;
    std::error_code ignored;
    if (!fs::is_regular_file(path, ignored)) continue;
    if (!jieba) {
      notes.emplace_back(
          "no jieba found, whose dictionary CPM-Ant's tokenizer needs: the model runs on ids; install python3-jieba or give --jieba DIR");
      return std::nullopt;
    }
    return ant_vocabulary(content(path.string()), read_jieba_folder(*jieba), vocab_size, path.string(), notes);
  }
  notes.emplace_back("no ant.txt and no vocab.txt: the model runs on ids");
  return std::nullopt;
}

}  // namespace leafcutter::compress
