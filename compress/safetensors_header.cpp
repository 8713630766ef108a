#include "compress/safetensors_header.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "base/checked.h"
#include "base/error.h"
#include "compress/printable_text.h"

namespace leafcutter::compress {
namespace {

using nlohmann::json;

struct Dtype {
  const char* name;
  std::uint64_t bytes;
};
constexpr Dtype kDtypes[] = {{"F64", 8},  {"I64", 8}, {"F32", 4}, {"I32", 4}, {"F16", 2},
                             {"BF16", 2}, {"I16", 2}, {"I8", 1},  {"U8", 1},  {"BOOL", 1}};

[[noreturn]] void refuse(const std::string& file, const std::string& tensor, const std::string& problem) {
  throw Error(ErrorKind::bad_file, tensor.empty() ? file : file + ", tensor " + printable_text(tensor, 128), problem,
              "the file is damaged or not safetensors");
}

// Depth and duplicate keys are judged while parsing: a tree is never built from a header that breaks the rules.
json parse_json(std::span<const std::byte> header, const std::string& file) {
  constexpr int kDepth = 4;
  std::unordered_set<std::string> names;
  const char* text = reinterpret_cast<const char*>(header.data());
  auto watch = [&](int depth, json::parse_event_t event, json& value) {
    if (depth > kDepth) refuse(file, "", "header nested deeper than " + std::to_string(kDepth));
    if (depth == 1 && event == json::parse_event_t::key) {
      const auto name = value.get<std::string>();
      if (!names.insert(name).second) refuse(file, name, "named twice in the header");
      if (names.size() > SafetensorsLimits::kTensors) refuse(file, "", "more tensors than " + std::to_string(SafetensorsLimits::kTensors));
    }
    return true;
  };
  try {
    json root = json::parse(text, text + header.size(), watch);
    if (!root.is_object()) refuse(file, "", "the header is no JSON object");
    return root;
  } catch (const json::parse_error& e) {
    refuse(file, "", "the header is no JSON at byte " + std::to_string(e.byte));
  } catch (const json::out_of_range&) { refuse(file, "", "the header holds a number past the range of doubles"); }
}

std::uint64_t whole_number(const json& value, const std::string& file, const std::string& tensor, const char* field) {
  if (!value.is_number_unsigned()) refuse(file, tensor, std::string(field) + " holds something else than whole numbers");
  return value.get<std::uint64_t>();
}

const json& field_of(const json& entry, const char* field, const std::string& file, const std::string& tensor) {
  const auto found = entry.is_object() ? entry.find(field) : entry.end();
  if (!entry.is_object() || found == entry.end()) refuse(file, tensor, std::string("has no ") + field);
  return *found;
}

std::uint64_t bytes_of(const SafetensorsEntry& e, const std::string& file) {
  const auto dtype = std::find_if(std::begin(kDtypes), std::end(kDtypes), [&](const Dtype& d) { return e.dtype == d.name; });
  if (dtype == std::end(kDtypes))
    throw Error(ErrorKind::unsupported, file + ", tensor " + printable_text(e.name, 128),
                "dtype " + printable_text(e.dtype, 16) + " is not known");
  std::optional<std::uint64_t> bytes = dtype->bytes;
  for (std::uint64_t n : e.shape) bytes = bytes ? checked_multiply(*bytes, n) : bytes;
  if (!bytes) refuse(file, e.name, "its shape is larger than any file");
  return *bytes;
}

}  // namespace

std::uint64_t safetensors_header_bytes(std::span<const std::byte, 8> first, std::uint64_t file_bytes, const std::string& file) {
  static_assert(std::endian::native == std::endian::little);
  std::uint64_t length;
  std::memcpy(&length, first.data(), sizeof length);
  if (length > SafetensorsLimits::kHeaderBytes || file_bytes < 8 || length > file_bytes - 8)
    refuse(file, "", "header of " + std::to_string(length) + " bytes in a file of " + std::to_string(file_bytes));
  return length;
}

std::vector<SafetensorsEntry> parse_safetensors_header(std::span<const std::byte> header, std::uint64_t file_bytes,
                                                       const std::string& file) {
  const json root = parse_json(header, file);
  const std::uint64_t data = 8 + header.size();
  std::vector<SafetensorsEntry> entries;
  for (const auto& [name, value] : root.items()) {
    if (name == "__metadata__") continue;
    SafetensorsEntry e{.name = name, .dtype = {}, .shape = {}, .offset = 0, .bytes = 0};
    const json& dtype = field_of(value, "dtype", file, name);
    const json& shape = field_of(value, "shape", file, name);
    const json& range = field_of(value, "data_offsets", file, name);
    if (!dtype.is_string()) refuse(file, name, "dtype is no string");
    e.dtype = dtype.get<std::string>();
    if (!shape.is_array() || shape.size() > SafetensorsLimits::kDimensions) refuse(file, name, "shape is no short list");
    for (const json& n : shape) e.shape.push_back(whole_number(n, file, name, "shape"));
    if (!range.is_array() || range.size() != 2) refuse(file, name, "data_offsets is no pair");
    const std::uint64_t begin = whole_number(range[0], file, name, "data_offsets"),
                        end = whole_number(range[1], file, name, "data_offsets");
    if (begin > end || end > file_bytes - data)
      refuse(file, name, "bytes " + std::to_string(begin) + " to " + std::to_string(end) + " of " + std::to_string(file_bytes - data));
    e.offset = data + begin;
    e.bytes = end - begin;
    if (bytes_of(e, file) != e.bytes)
      refuse(file, name, "shape needs " + std::to_string(bytes_of(e, file)) + " bytes, the file gives " + std::to_string(e.bytes));
    entries.push_back(std::move(e));
  }
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.offset < b.offset; });
  std::uint64_t expected = data;
  for (const SafetensorsEntry& e : entries) {
    if (e.offset != expected)
      refuse(file, e.name,
             "begins at byte " + std::to_string(e.offset) + ", expected " + std::to_string(expected) + ": a hole or an overlap");
    expected = e.offset + e.bytes;
  }
  if (expected != file_bytes) refuse(file, "", std::to_string(file_bytes - expected) + " bytes belong to no tensor");
  return entries;
}

}  // namespace leafcutter::compress
