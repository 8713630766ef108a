// Pre-tokenizers by the names that GGUF gives them, as the expressions that cut text into pieces.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "compress/tokenizer_data.h"

namespace leafcutter::compress {

struct PreTokenizer {
  std::vector<SplitRule> splits;
  bool ignore_merges = false;
};

// Names: gpt-2, smollm, llama-bpe (LLaMA 3), ... None for names that are not served.
std::optional<PreTokenizer> pre_tokenizer(const std::string& gguf_name);

// What the ByteLevel pre-tokenizer of the tokenizers library cuts with (GPT-2's expression).
const std::string& gpt2_expression();

}  // namespace leafcutter::compress
