// tokenizer.json of the tokenizers library to tokenizer data: byte-level BPE, and SentencePiece's kind of BPE. Text in, facts out; no I/O of its own.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

#include "compress/tokenizer_data.h"
#include "compress/tokenizer_json.h"

namespace leafcutter::compress {

// None, with a note, for kinds that are not served yet. Throws Error(bad_file) naming file and field. `config`: tokenizer_config.json, or null.
// begin_id and end_id are the named tokens of tokenizer_config.json where it has them.
std::optional<TokenizerData> tokenizer_from_json(const TextSource& text, const nlohmann::json& config, const std::string& file,
                                                 std::vector<std::string>& notes);
std::optional<TokenizerData> tokenizer_from_json(std::string_view text, const nlohmann::json& config, const std::string& file,
                                                 std::vector<std::string>& notes);

}  // namespace leafcutter::compress
