// tokenizer.json of the tokenizers library read as a stream: vocabulary and merges go straight into lists, the rest into a small document. A file of 17 MB (Gemma's) costs little
// more memory than what is kept of it.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "compress/tokenizer_data.h"

namespace leafcutter::compress {

constexpr std::uint64_t kTokenizerJsonBytes = 64u << 20;

// Fills the front of `to` with the file's bytes from offset on; gives how many, 0 at the end.
using TextSource = std::function<std::size_t(std::uint64_t offset, std::span<char> to)>;

struct TokenizerJson {
  nlohmann::json rest;              // without model.vocab and model.merges
  std::vector<std::string> tokens;  // of model.vocab, by id
  std::vector<TokenKind> kinds;     // normal, or unused where there is a hole
  std::vector<Merge> merges;        // of model.merges
};

// Throws Error(bad_file) naming file and field or byte: no JSON, nested too deep, texts, counts or ids past the limits, merges of what is no token.
// A vocabulary that is no object (other models than BPE) is passed over.
TokenizerJson read_tokenizer_json(const TextSource& source, const std::string& file);

}  // namespace leafcutter::compress
