// SentencePiece's BPE: neighbours whose texts together are a token merge, the one with the best score first (Kudo and Richardson 2018).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "runtime/text_codec.h"
#include "runtime/token_table.h"

namespace leafcutter::runtime {

// Immutable, thread-safe. All that it is given outlives it.
class ScoreMerger {
 public:
  ScoreMerger(const TokenTable& table, TokenKinds kinds, std::span<const float> scores);

  struct Symbol {
    std::string_view text;
    bool whole = false;  // a token of the user's, which nothing merges with
  };
  // symbols: characters, one behind the other in one text. Gives the texts of tokens; those of the kind unused are taken apart again. O(n log n).
  std::vector<std::string_view> merge(std::span<const Symbol> symbols) const;

 private:
  struct Found {
    bool mergeable = false, unused = false;
    float score = 0;
  };
  Found find(std::string_view text) const;

  const TokenTable& table_;
  const TokenKinds kinds_;
  const std::span<const float> scores_;
  std::size_t longest_ = 0;
};

}  // namespace leafcutter::runtime
