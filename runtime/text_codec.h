// What the kinds of tokenizers do differently: a file for each kind, a row for each in text_codec.cpp. Tokenizer does what they have in common.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "compress/tokenizer_data.h"

namespace leafcutter::runtime {

// Immutable after construction and thread-safe.
class TextCodec {
 public:
  virtual ~TextCodec() = default;

  // As Tokenizer::encode. begins: the text has nothing in front of it.
  virtual std::vector<std::uint32_t> encode(std::string_view text, bool parse_special, bool begins) const = 0;
  // The bytes that a token stands for, special ones too. id is below the number of tokens.
  virtual std::string bytes_of(std::uint32_t id) const = 0;
  // Takes away from a decoded text what encoding puts in front. first: the token that the text begins with.
  virtual void trim_start(std::string& /*text*/, std::uint32_t /*first*/) const {}
  // By its spelling in the vocabulary.
  virtual std::optional<std::uint32_t> id_of(std::string_view token) const = 0;
  virtual std::size_t memory_bytes() const = 0;
};

using TokenKinds = std::span<const compress::TokenKind>;  // id -> kind; outlives the codec

// Tokens that are looked for in the text itself.
constexpr bool stands_apart(compress::TokenKind kind) {
  return kind == compress::TokenKind::special || kind == compress::TokenKind::user_defined;
}

// Calls use(id, how it is looked for, is it special) for each of them, ids ascending.
template <class Use>
void for_each_token_apart(const compress::TokenizerData& data, TokenKinds kinds, Use&& use) {
  auto match = data.matches.begin();
  for (std::uint32_t id = 0; id < kinds.size(); id++) {
    compress::TokenMatch rules{.id = id};
    if (match != data.matches.end() && match->id == id) rules = *match++;
    if (stands_apart(kinds[id])) use(id, rules, kinds[id] == compress::TokenKind::special);
  }
}

// Throws Error(unsupported) for a kind without a row, and what its constructor throws.
std::unique_ptr<TextCodec> make_text_codec(const compress::TokenizerData& data, TokenKinds kinds, const std::string& file);

}  // namespace leafcutter::runtime
