// A tokenizer as data: what importers take from tokenizer.json or GGUF metadata and the runtime's tokenizer code works on. Stored in the .leaf's tokenizer section (docs/format.md).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "compress/word_dictionary.h"

namespace leafcutter::compress {

enum class TokenizerKind : std::uint8_t {
  byte_level_bpe = 1,     // GPT-2, LLaMA 3, DeepSeek: merges of bytes
  sentencepiece_bpe = 2,  // LLaMA, Gemma: merges of characters, spaces spelled as a character, bytes where a character is no token
  longest_match = 3,      // CPM-Ant: words as jieba cuts them, each from its front into the longest tokens that fit
};
enum class TokenKind : std::uint8_t { normal = 0, special = 1, unused = 2, user_defined = 3, byte = 4, unknown = 5 };

// How text is cut before merging. Rules are applied one after another, each to the pieces left by the ones before.
struct SplitRule {
  enum class Kind : std::uint8_t {
    expression = 0,  // each match of `expression` is a piece, and so is the text between matches
    digits = 1,      // each decimal digit (\p{N}) alone is a piece
    metaspace = 2,   // spaces become `expression` (a character), which is put in front as `scheme` says; with `cut` a piece begins at each
  } kind{};
  // What becomes of matches of `expression`: pieces of their own, nothing, or part of what is beside them.
  enum class Matches : std::uint8_t { isolated = 0, removed = 1, merged_with_previous = 2, merged_with_next = 3, contiguous = 4 };
  enum class Scheme : std::uint8_t { never = 0, first = 1, always = 2 };
  std::string expression;  // PCRE2 syntax, UTF-8 with Unicode properties
  Matches matches = Matches::isolated;
  bool invert = false;  // what does not match counts as match
  Scheme scheme = Scheme::never;
  bool cut = false;
};

// Each `from` becomes `to`; an empty `from`: `to` comes in front, unless the text is empty.
struct Replacement {
  std::string from, to;
  bool operator==(const Replacement&) const = default;
};

// How a token that stands apart (special, user_defined) is looked for in text.
struct TokenMatch {
  std::uint32_t id = 0;
  bool left_strip = false, right_strip = false;  // takes the white space beside it along
  bool single_word = false;                      // not within a word
  bool normalized = false;                       // looked for after the replacements, its own spelling replaced likewise
  bool operator==(const TokenMatch&) const = default;
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
  std::vector<TokenMatch> matches;  // of tokens with some rule; ids ascend
  bool add_begin = false;           // put begin_id in front of a prompt
  bool add_prefix_space = false;
  bool ignore_merges = false;  // LLaMA-3: a piece that is a token as it stands is taken whole
  // sentencepiece_bpe
  std::vector<float> scores;  // one for each token: neighbours that make a token merge, the best score first; empty: merges by rank
  std::vector<Replacement> replacements;  // before text is cut
  std::vector<Replacement> decoding;      // within each token's spelling, for the way back
  bool byte_fallback = false;             // a character that is no token becomes its bytes' tokens <0x..>
  bool fuse_unknown = false;              // neighbouring unknown characters are one
  std::uint8_t strip_spaces = 0;          // so many spaces in front of decoded text go
  bool strip_first_token = false;         // the first token loses the character that stands for spaces
  // longest_match: what words are cut by; the runtime keeps it, not a copy
  std::shared_ptr<const WordDictionary> dictionary;

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
  static constexpr std::size_t kReplacements = 16;
  static constexpr std::size_t kReplacementBytes = 255;
  static constexpr std::size_t kTemplateBytes = 1u << 20;
  static constexpr std::size_t kTemplateNameBytes = 64;
  static constexpr std::size_t kEndOfTurnIds = 64;
  static constexpr std::size_t kSectionBytes = 16u << 20;
};

// For importers. Is this the spelling of a byte's token, <0x00> to <0xFF>?
bool is_byte_token(std::string_view spelling);
// Text never becomes a special token by merging, whatever the file's merges say.
void drop_special_merges(TokenizerData& data);
// Gemma's <end_of_turn>, which configurations often do not name.
void add_ends_of_turn(TokenizerData& data);

// Throws Error(unsupported) naming the field that breaks a limit or refers to a token that is not there.
std::vector<std::byte> to_section(const TokenizerData& data);
// Throws Error(bad_file | unsupported) naming file, field and offset; checks every count, id and length.
TokenizerData tokenizer_from_section(std::span<const std::byte> section, const std::string& file);

}  // namespace leafcutter::compress
