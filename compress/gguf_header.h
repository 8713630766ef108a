// The header of a GGUF file, versions 2 and 3, little endian: metadata and where each tensor lies. Bytes in, facts out; no I/O.
// Source: the format description of ggml (docs/gguf.md there).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "quant/ggml_blocks.h"

namespace leafcutter::compress {

struct GgufLimits {
  static constexpr std::uint64_t kHeaderBytes = 40u << 20;  // vocabularies of 256,000 tokens take 8 MB
  static constexpr std::uint64_t kTensors = 65'536;
  static constexpr std::uint64_t kMetadata = 4096;
  static constexpr std::uint64_t kNameBytes = 256;
  static constexpr std::uint64_t kDimensions = 4;
  static constexpr std::uint64_t kAlignment = 1u << 20;
};

enum class GgufType : std::uint32_t { u8 = 0, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };

// A value of the metadata; the bytes stay in the header's buffer.
struct GgufValue {
  std::string key;
  GgufType type{};
  GgufType element{};       // of arrays
  std::uint64_t count = 1;  // of array elements
  std::size_t begin = 0;    // first byte of the value, of the first element of an array
};

struct GgufTensor {
  std::string name;
  std::vector<std::uint64_t> shape;  // as stored: the fastest dimension first
  quant::SourceType type{};
  std::uint64_t offset = 0;  // from the start of the file; [offset, offset + bytes) lies inside the file
  std::uint64_t bytes = 0;
};

class GgufHeader {
 public:
  // `bytes`: the beginning of the file, kept by reference: it must outlive this object. Gives nothing when the header does not end within it and the file goes on (read more and try again).
  // Throws Error(bad_file | unsupported) naming file, key or tensor, expected, found.
  static std::optional<GgufHeader> parse(std::span<const std::byte> bytes, std::uint64_t file_bytes, const std::string& file);

  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  const GgufValue* find(std::string_view key) const;

  // Typed reads of metadata; none when the key is not there. Any integer type serves for numbers. Throw Error(bad_file) for another type.
  std::optional<std::uint64_t> number(std::string_view key) const;
  std::optional<double> real(std::string_view key) const;
  std::optional<bool> flag(std::string_view key) const;
  std::optional<std::string> text(std::string_view key) const;
  // One number, or one for each element of an array.
  std::vector<std::uint64_t> numbers(std::string_view key) const;

  // Calls use(i, text) for each element of an array of strings; gives false when the key is not there.
  template <class Use>
  bool for_each_text(std::string_view key, Use&& use) const {
    const GgufValue* value = array_of(key, GgufType::string);
    if (!value) return false;
    std::size_t at = value->begin;
    for (std::uint64_t i = 0; i < value->count; i++) use(i, text_at(at));
    return true;
  }

  // The same for the whole numbers of an array.
  template <class Use>
  bool for_each_number(std::string_view key, Use&& use) const {
    const GgufValue* value = find(key);
    if (!value) return false;
    const std::size_t bytes = number_bytes(*value);
    for (std::uint64_t i = 0; i < value->count; i++)
      use(i, static_cast<std::uint64_t>(integer_at(value->element, value->begin + i * bytes, key)));
    return true;
  }

  // Real numbers (F32) of an array; empty when the key is not there.
  std::vector<float> reals(std::string_view key) const;

  const std::string& file() const { return file_; }

 private:
  const GgufValue* array_of(std::string_view key, GgufType element) const;
  std::string_view text_at(std::size_t& at) const;  // moves at behind the text
  std::size_t number_bytes(const GgufValue& value) const;
  std::int64_t integer_at(GgufType type, std::size_t at, std::string_view key) const;
  [[noreturn]] void wrong_type(std::string_view key, const char* expected) const;

  std::span<const std::byte> bytes_;
  std::string file_;
  std::vector<GgufValue> metadata_;  // sorted by key
  std::vector<GgufTensor> tensors_;
};

}  // namespace leafcutter::compress
