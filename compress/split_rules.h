// Pre-tokenizers by the names that GGUF gives them, as the expressions that cut text into pieces.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "compress/tokenizer_data.h"

namespace leafcutter::compress {

struct PreTokenizer {
  std::vector<SplitRule> splits;
  bool ignore_merges = false;
};

// Names: gpt-2, smollm, llama-bpe (LLaMA 3), ... None for names that are not served.
std::optional<PreTokenizer> pre_tokenizer(const std::string& gguf_name);

// An expression of the tokenizers library (Oniguruma, Ruby's syntax) in the syntax of SplitRule (PCRE2): the same classes of characters, lines where Ruby sees them.
// None for what has no counterpart here (intersections of classes, classes in classes).
std::optional<std::string> split_expression(std::string_view oniguruma);

// One character of a word, as Oniguruma and Rust's regex see words.
std::string word_character_expression();

// What the ByteLevel pre-tokenizer of the tokenizers library cuts with (GPT-2's expression).
const std::string& gpt2_expression();

}  // namespace leafcutter::compress
