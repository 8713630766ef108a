// The tokenizer section of a .leaf from inside: what all kinds of tokenizers have in common, and the row that each kind adds. Byte table in docs/format.md.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "compress/leaf_fields.h"
#include "compress/tokenizer_data.h"

namespace leafcutter::compress {

constexpr std::uint32_t kNoTokenId = 0xffffffff;
constexpr std::uint8_t kAddBeginFlag = 1;  // of every kind; the other bits are the kind's own

struct SectionHeader {
  std::uint8_t version = 1, kind = 0, flags = 0;
  std::uint32_t begin_id = kNoTokenId, end_id = kNoTokenId, unknown_id = kNoTokenId, pad_id = kNoTokenId;
  std::uint32_t tokens = 0, merges = 0, splits = 0, end_of_turn_ids = 0;
  std::uint32_t token_bytes = 0, template_bytes = 0, template_name_bytes = 0;
};

// What must hold in a section and before one is written: throws of one kind, naming the field.
class SectionChecker {
 public:
  SectionChecker(const TokenizerData& checked, std::string where, ErrorKind kind) : data(checked), where_(std::move(where)), kind_(kind) {}

  [[noreturn]] void refuse(const std::string& field, const std::string& problem) const;
  void limit(const std::string& field, std::size_t found, std::size_t most) const;
  void check_id(const std::string& field, std::uint32_t id) const;  // is there such a token?

  const TokenizerData& data;

 private:
  std::string where_;
  ErrorKind kind_;
};

// Hands out parts of the section and says where it ended early.
class SectionReader {
 public:
  SectionReader(std::span<const std::byte> section, std::string where) : section_(section), where_(std::move(where)) {}

  [[noreturn]] void refuse(const std::string& field, const std::string& problem) const;
  // count <= 2^32, bytes_each small: the product is exact.
  std::span<const std::byte> take(const char* field, std::uint64_t count, std::uint64_t bytes_each);
  std::string text(const char* field, std::uint64_t bytes);
  void limit(const char* field, std::uint64_t found, std::uint64_t most) const;
  void end() const;

 private:
  std::span<const std::byte> section_;
  std::string where_;
  std::size_t at_ = 0;
};

class SectionWriter : public FieldWriter {
 public:
  explicit SectionWriter(std::vector<std::byte>& out) : FieldWriter(out), out_(out) {}
  void text(const std::string& text);

 private:
  std::vector<std::byte>& out_;
};

// What a kind of tokenizer keeps between the tokens and the ids that end a turn, and its bits and counts in the header.
struct KindSection {
  TokenizerKind kind;
  std::uint8_t flags;  // that mean something for this kind, kAddBeginFlag aside
  void (*check)(const SectionChecker& checker);
  void (*fill)(const TokenizerData& data, SectionHeader& header);
  void (*write)(const TokenizerData& data, SectionWriter& out);
  void (*read)(SectionReader& in, const SectionHeader& header, TokenizerData& data);
};

extern const KindSection kByteLevelSection, kSentencePieceSection, kLongestMatchSection;

}  // namespace leafcutter::compress
