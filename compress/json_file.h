// JSON files beside weights, read whole.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

#include "compress/json_document.h"

namespace leafcutter::compress {

bool is_file(const std::filesystem::path& path);  // a regular one

// Throws Error(not_found | bad_file | io) naming the file.
std::string read_text_file(const std::filesystem::path& path, std::size_t most_bytes);
nlohmann::json read_json_file(const std::filesystem::path& path, std::size_t most_bytes = kJsonDocumentBytes);

}  // namespace leafcutter::compress
