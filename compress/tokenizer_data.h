// A tokenizer as data: what importers take from tokenizer.json or GGUF metadata and the runtime's tokenizer code works on. Stored in the .leaf's tokenizer section (docs/format.md).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "compress/word_dictionary.h"

namespace leafcutter::compress {

enum class TokenizerKind : std::uint8_t {
  byte_level_bpe = 1,
  longest_match = 3,  // CPM-Ant: words as jieba cuts them, each from its front into the longest tokens that fit
};
enum class TokenKind : std::uint8_t { normal = 0, special = 1, unused = 2, user_defined = 3, byte = 4, unknown = 5 };

// How text is cut before merging. Rules are applied one after another, each to the pieces left by the ones before.
struct SplitRule {
  enum class Kind : std::uint8_t {
    expression = 0,  // each match of `expression` is a piece, and so is the text between matches
    digits = 1,      // each decimal digit (\p{N}) alone is a piece
  } kind{};
  std::string expression;  // PCRE2 syntax, UTF-8 with Unicode properties
};

struct Merge {
  std::uint32_t left, right, result;  // ids; order in the list is the rank
};

struct TokenizerData {
  TokenizerKind kind = TokenizerKind::byte_level_bpe;
  std::vector<std::string> tokens;  // id -> text as the vocabulary spells it (byte-level: GPT-2's printable bytes)
  std::vector<TokenKind> kinds;     // id -> kind
  std::vector<Merge> merges;
  std::vector<SplitRule> splits;
  bool add_begin = false;  // put begin_id in front of a prompt
  bool add_prefix_space = false;
  bool ignore_merges = false;                        // LLaMA-3: a piece that is a token as it stands is taken whole
  std::shared_ptr<const WordDictionary> dictionary;  // longest_match: what words are cut by; the runtime keeps it, not a copy
  std::optional<std::uint32_t> begin_id, end_id, unknown_id, pad_id;
  std::vector<std::uint32_t> end_of_turn_ids;  // ends a turn of a chat beside end_id
  std::string chat_template;                   // Jinja source as the checkpoint has it; empty: none
  std::string template_name;                   // the built-in that was recognised: "chatml"; empty: none
};

// Twice what the largest vocabularies at hand need; a section and what is made of it stay below 64 MiB together.
struct TokenizerLimits {
  static constexpr std::size_t kTokens = 1u << 19;
  static constexpr std::size_t kTokenBytes = (1u << 16) - 1;
  static constexpr std::size_t kMerges = 1u << 20;
  static constexpr std::size_t kSplits = 64;
  static constexpr std::size_t kExpressionBytes = 1u << 16;
  static constexpr std::size_t kTemplateBytes = 1u << 20;
  static constexpr std::size_t kTemplateNameBytes = 64;
  static constexpr std::size_t kEndOfTurnIds = 64;
  static constexpr std::size_t kSectionBytes = 16u << 20;
};

// Throws Error(unsupported) naming the field that breaks a limit or refers to a token that is not there.
std::vector<std::byte> to_section(const TokenizerData& data);
// Throws Error(bad_file | unsupported) naming file, field and offset; checks every count, id and length.
TokenizerData tokenizer_from_section(std::span<const std::byte> section, const std::string& file);

}  // namespace leafcutter::compress
