#include "runtime/text_codec.h"

#include "base/error.h"
#include "runtime/byte_level_bpe.h"
#include "runtime/longest_match.h"
#include "runtime/sentencepiece_bpe.h"

namespace leafcutter::runtime {
namespace {

using compress::TokenizerKind;

struct KindRow {
  TokenizerKind kind;
  std::unique_ptr<TextCodec> (*make)(const compress::TokenizerData&, TokenKinds, const std::string& file);
};

constexpr KindRow kKinds[] = {
    {TokenizerKind::byte_level_bpe, make_byte_level_bpe},
    {TokenizerKind::longest_match, make_longest_match},
    {TokenizerKind::sentencepiece_bpe, make_sentencepiece_bpe},
};

}  // namespace

std::unique_ptr<TextCodec> make_text_codec(const compress::TokenizerData& data, TokenKinds kinds, const std::string& file) {
  for (const KindRow& row : kKinds)
    if (row.kind == data.kind) return row.make(data, kinds, file);
  throw Error(ErrorKind::unsupported, file + ", tokenizer", "its kind " + std::to_string(static_cast<int>(data.kind)) + " is not served");
}

}  // namespace leafcutter::runtime
