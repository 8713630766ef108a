// tokenizer.json of the tokenizers library to tokenizer data: byte-level BPE. Read as a stream, so that a file of many megabytes costs little more than its vocabulary. Text in, facts out; no I/O.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

#include "compress/tokenizer_data.h"

namespace leafcutter::compress {

constexpr std::size_t kTokenizerJsonBytes = 32u << 20;

// None, with a note, for kinds that are not served yet. Throws Error(bad_file) naming file and field. `config`: tokenizer_config.json, or null.
// begin_id and end_id are the named tokens of tokenizer_config.json where it has them.
std::optional<TokenizerData> tokenizer_from_json(std::string_view text, const nlohmann::json& config, const std::string& file,
                                                 std::vector<std::string>& notes);

}  // namespace leafcutter::compress
