// Tokens that stand apart (special and user-defined ones), found in text as the tokenizers library finds its added tokens: the leftmost first, of those the longest.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "compress/tokenizer_data.h"
#include "runtime/text_splitter.h"

namespace leafcutter::runtime {

// Immutable after index(). Thread-safe then. Looking costs a few comparisons where a token may begin, however many tokens there are.
class AddedTokens {
 public:
  static constexpr std::uint32_t kText = ~0u;
  struct Part {
    std::string_view text;
    std::uint32_t id;  // kText: no token
  };

  void add(std::uint32_t id, std::string_view text, const compress::TokenMatch& match, bool special);
  void index();

  // The parts cover the text in order; no part of kText is empty. Without parse_special the spelling of special tokens is text.
  std::vector<Part> cut(std::string_view text, bool parse_special) const;

  std::size_t memory_bytes() const { return entries_.capacity() * sizeof(Entry) + bytes_.capacity(); }

 private:
  struct Entry {
    std::uint32_t at, bytes, id;
    bool special, left_strip, right_strip, single_word;
  };
  std::string_view text_of(const Entry& entry) const { return {bytes_.data() + entry.at, entry.bytes}; }
  const Entry* longest_at(std::string_view text) const;
  bool is_word(std::string_view character) const;

  std::vector<Entry> entries_;  // sorted by text
  std::vector<char> bytes_;
  std::array<bool, 256> first_bytes_{};
  std::unique_ptr<TextSplitter> word_;  // takes word characters away; null when no token asks
};

}  // namespace leafcutter::runtime
