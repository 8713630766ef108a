// SentencePiece's kind of byte-pair encoding (LLaMA, Gemma): characters of the text, spaces spelled as U+2581, are merged by score or by rank; a character without a token
// becomes the tokens of its bytes.
#pragma once

#include "runtime/text_codec.h"

namespace leafcutter::runtime {

// Throws Error(bad_file | unsupported) naming `file` when a merge or score is for a token that is not there or an expression does not compile.
std::unique_ptr<TextCodec> make_sentencepiece_bpe(const compress::TokenizerData& data, TokenKinds kinds, const std::string& file);

}  // namespace leafcutter::runtime
