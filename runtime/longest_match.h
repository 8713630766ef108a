// CPM-Ant's tokenizer: text is cut into words as jieba does, and each word from its front into the longest tokens that fit; a character that begins no token is the unknown
// one. Nothing is lower-cased or normalized. A word of more than 200 characters is one unknown token.
#pragma once

#include "runtime/text_codec.h"

namespace leafcutter::runtime {

// Throws Error(bad_file) naming `file` when the dictionary is missing or contradicts itself, and when there is no unknown token.
std::unique_ptr<TextCodec> make_longest_match(const compress::TokenizerData& data, TokenKinds kinds, const std::string& file);

}  // namespace leafcutter::runtime
