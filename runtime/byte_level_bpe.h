// Byte-level byte-pair encoding (GPT-2, LLaMA 3, DeepSeek): expressions cut the text, the bytes of each piece are merged by rank.
#pragma once

#include "runtime/text_codec.h"

namespace leafcutter::runtime {

// Throws Error(bad_file | unsupported) naming `file` when a merge names a token that is not there or an expression does not compile.
std::unique_ptr<TextCodec> make_byte_level_bpe(const compress::TokenizerData& data, TokenKinds kinds, const std::string& file);

}  // namespace leafcutter::runtime
