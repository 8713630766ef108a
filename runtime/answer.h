// What ways of generating share: ends, log-probabilities, text.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "runtime/generate.h"
#include "runtime/stop_matcher.h"

namespace leafcutter::runtime {

bool ends(const Model& model, std::uint32_t id);

// CPM-Live: ids that an answer never begins with, the ends and the line's end.
std::vector<std::uint32_t> never_first(const Model& model);

void add_logprobs(GeneratedToken& token, std::span<const float> logits, std::uint32_t count);

// Bytes of tokens to text that may be shown: whole characters, nothing of a stop string.
class TextStream {
 public:
  TextStream(const Tokenizer* tokenizer, std::vector<std::string> stops) : tokenizer_(tokenizer), stop_(std::move(stops)) {}

  std::string push(std::uint32_t id) { return tokenizer_ ? stop_.push(characters_.push(tokenizer_->bytes_of(id))) : std::string(); }
  std::string flush() {
    if (!tokenizer_) return {};
    std::string text = stop_.push(characters_.flush());
    return text + stop_.flush();
  }
  bool stopped() const { return stop_.found(); }

 private:
  const Tokenizer* tokenizer_;
  Utf8Assembler characters_;
  StopMatcher stop_;
};

}  // namespace leafcutter::runtime
