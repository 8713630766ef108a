// The tokenizer of a CPM-Ant checkpoint: its vocabulary from the checkpoint's folder, jieba's dictionary from an installed jieba.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "compress/tokenizer_data.h"

namespace leafcutter::compress {

// Reads `ant.txt`, else `vocab.txt` in `folder`. jieba_folder: of an installed jieba; empty: the usual places are looked at. None, with a note that says what to do, where
// there is no vocabulary or no jieba: the model runs on ids. Throws Error naming the file when one is there and is broken, and when a jieba_folder that was given is none.
std::optional<TokenizerData> ant_tokenizer(const std::string& folder, std::uint32_t vocab_size, const std::string& jieba_folder,
                                           std::vector<std::string>& notes);

}  // namespace leafcutter::compress
