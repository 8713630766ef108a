// Property: files of jieba give a dictionary that a .leaf can hold, or an Error. The four files follow each other, a NUL between them.
#include <algorithm>
#include <cstdlib>
#include <span>

#include "base/error.h"
#include "compress/jieba_dictionary.h"
#include "compress/tokenizer_data.h"

using namespace leafcutter::compress;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size), parts[4];
  for (std::string_view& part : parts) {
    part = rest.substr(0, rest.find('\0'));
    rest.remove_prefix(std::min(rest.size(), part.size() + 1));
  }
  TokenizerData tokenizer;
  try {
    tokenizer.dictionary = std::make_shared<const WordDictionary>(parse_jieba({parts[0], parts[1], parts[2], parts[3]}, "jieba"));
  } catch (const leafcutter::Error&) { return 0; }
  tokenizer.kind = TokenizerKind::longest_match;
  tokenizer.tokens = {"a"};
  tokenizer.kinds = {TokenKind::normal};
  const TokenizerData again = tokenizer_from_section(to_section(tokenizer), "fuzz.leaf");
  if (*again.dictionary != *tokenizer.dictionary) std::abort();
  return 0;
}
