// Property: a vocabulary gives tokens that are all different and ids among them, or an Error.
#include <algorithm>
#include <cstdlib>

#include "base/error.h"
#include "compress/ant_vocabulary.h"

using namespace leafcutter::compress;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::uint32_t kTokens = 64;
  std::vector<std::string> notes;
  TokenizerData tokenizer;
  try {
    tokenizer = ant_vocabulary({reinterpret_cast<const char*>(data), size}, nullptr, kTokens, "ant.txt", notes);
  } catch (const leafcutter::Error&) { return 0; }
  if (tokenizer.tokens.size() > kTokens || tokenizer.kinds.size() != tokenizer.tokens.size()) std::abort();
  for (const auto id : {tokenizer.begin_id, tokenizer.end_id, tokenizer.unknown_id})
    if (!id || *id >= tokenizer.tokens.size()) std::abort();
  for (std::size_t i = 0; i < tokenizer.tokens.size(); i++)
    if (tokenizer.kinds[i] == TokenKind::unused) tokenizer.tokens[i].clear();
  std::sort(tokenizer.tokens.begin(), tokenizer.tokens.end());
  const auto twin = std::adjacent_find(tokenizer.tokens.begin(), tokenizer.tokens.end());
  if (twin != tokenizer.tokens.end()) std::abort();
  return 0;
}
