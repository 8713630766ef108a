// The bytes of a .leaf with the places of docs/format.md, said here again and apart from the code under test, to damage them on purpose.
#pragma once

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

namespace leafcutter::compress::test {

struct Field {
  const char* name;
  std::size_t offset;
  std::size_t bytes;
};

constexpr Field kHeaderFields[] = {
    {"version", 8, 4},     {"header_bytes", 12, 4},     {"file_bytes", 16, 8},      {"index_offset", 24, 8},   {"index_bytes", 32, 8},
    {"index_hash", 40, 8}, {"tokenizer_offset", 48, 8}, {"tokenizer_bytes", 56, 8}, {"tokenizer_hash", 64, 8}, {"description_bytes", 72, 4},
    {"modules", 76, 4},    {"tensors", 80, 4},          {"chunks", 84, 4},          {"tiles", 88, 4}};
constexpr Field kModuleFields[] = {{"kind", 0, 1},          {"layer", 4, 4},        {"bytes", 8, 8},       {"first_tensor", 16, 4},
                                   {"tensor_count", 20, 4}, {"first_chunk", 24, 4}, {"chunk_count", 28, 4}};
constexpr Field kTensorFields[] = {{"role", 0, 2},  {"format", 2, 1}, {"layout", 3, 1},  {"layer", 4, 4}, {"module", 8, 4},
                                   {"rows", 16, 8}, {"k", 24, 8},     {"offset", 32, 8}, {"bytes", 40, 8}};
constexpr Field kChunkFields[] = {{"module", 0, 4},     {"codec", 4, 1},         {"module_offset", 8, 8},
                                  {"raw_bytes", 16, 4}, {"stored_bytes", 20, 4}, {"file_offset", 24, 8}};
constexpr std::size_t kModuleBytes = 32, kTensorBytes = 48, kChunkBytes = 48, kDivisorOffset = 12, kChunkHashOffset = 32;

class LeafBytes {
 public:
  explicit LeafBytes(std::vector<std::byte> from) : bytes(std::move(from)) {}

  std::uint64_t get(std::size_t offset, std::size_t width) const {
    std::uint64_t value = 0;
    std::memcpy(&value, bytes.data() + offset, width);
    return value;
  }
  void put(std::size_t offset, std::size_t width, std::uint64_t value) { std::memcpy(bytes.data() + offset, &value, width); }

  std::size_t index_offset() const { return get(24, 8); }
  std::size_t index_bytes() const { return get(32, 8); }
  std::size_t description_bytes() const { return get(72, 4); }
  std::size_t modules() const { return get(76, 4); }
  std::size_t tensors() const { return get(80, 4); }
  std::size_t chunks() const { return get(84, 4); }
  std::size_t module(std::size_t i) const { return index_offset() + (description_bytes() + 7) / 8 * 8 + i * kModuleBytes; }
  std::size_t tensor(std::size_t i) const { return module(modules()) + i * kTensorBytes; }
  std::size_t chunk(std::size_t i) const { return tensor(tensors()) + i * kChunkBytes; }
  std::size_t tile(std::size_t i) const { return chunk(chunks()) + i * 8; }
  std::string description() const { return {reinterpret_cast<const char*>(bytes.data()) + index_offset(), description_bytes()}; }

  void rehash_header() { put(4088, 8, XXH3_64bits(bytes.data(), 4088)); }
  void rehash_index() {
    put(40, 8, XXH3_64bits(bytes.data() + index_offset(), index_bytes()));
    rehash_header();
  }

  // Another description, with tables and sizes that fit it; the tokenizer is dropped.
  void set_description(const std::string& text) {
    const std::size_t begin = index_offset(), tables = module(0), end = begin + index_bytes();
    std::vector<std::byte> rest(bytes.begin() + static_cast<std::ptrdiff_t>(tables), bytes.begin() + static_cast<std::ptrdiff_t>(end));
    bytes.resize(begin);
    const auto append = [&](std::span<const std::byte> more) { bytes.insert(bytes.end(), more.begin(), more.end()); };
    append(std::as_bytes(std::span(text)));
    bytes.resize((bytes.size() + 7) / 8 * 8);
    append(rest);
    put(32, 8, bytes.size() - begin);
    put(72, 4, text.size());
    for (std::size_t at : {48, 56, 64}) put(at, 8, 0);
    bytes.resize((bytes.size() + 4095) / 4096 * 4096);
    put(16, 8, bytes.size());
    rehash_index();
  }

  std::vector<std::byte> bytes;
};

}  // namespace leafcutter::compress::test
