#include "compress/json_file.h"

#include "base/error.h"
#include "base/file.h"

namespace leafcutter::compress {

bool is_file(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(path, ignored);
}

std::string read_text_file(const std::filesystem::path& path, std::size_t most_bytes) {
  const auto file = open_file(path.string());
  if (file->size() > most_bytes)
    throw Error(ErrorKind::bad_file, path.string(),
                "has " + std::to_string(file->size()) + " bytes; at most " + std::to_string(most_bytes) + " are read");
  std::string text(file->size(), '\0');
  read_exactly(*file, 0, std::as_writable_bytes(std::span(text)), "text");
  return text;
}

nlohmann::json read_json_file(const std::filesystem::path& path, std::size_t most_bytes) {
  return parse_json_document(read_text_file(path, most_bytes), path.string(), most_bytes);
}

}  // namespace leafcutter::compress
