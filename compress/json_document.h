// JSON files that other programs wrote (config.json and its kin): small, parsed whole, with a limit for bytes and depth.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace leafcutter::compress {

constexpr std::size_t kJsonDocumentBytes = 1u << 20;
constexpr int kJsonDocumentDepth = 32;

// Throws Error(bad_file) naming `file` and the byte. A key that comes twice keeps its last value, as Python's reader does.
nlohmann::json parse_json_document(std::string_view text, const std::string& file, std::size_t most_bytes = kJsonDocumentBytes);

// Fields of an object; a field that is null counts as absent. Throw Error(bad_file) naming file, field, what was found.
std::uint64_t json_number(const nlohmann::json& object, const char* field, std::uint64_t fallback, const std::string& file);  // whole, >= 0
double json_real(const nlohmann::json& object, const char* field, double fallback, const std::string& file);                  // finite
bool json_flag(const nlohmann::json& object, const char* field, bool fallback, const std::string& file);
std::string json_text(const nlohmann::json& object, const char* field, const std::string& fallback, const std::string& file);

}  // namespace leafcutter::compress
