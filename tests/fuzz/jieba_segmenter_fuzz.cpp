// Property: the words of a text put together are the text; ids of any bytes are within the vocabulary, no more than bytes, and no special ones. The dictionary has words within
// words, latin ones, and characters that the model knows.
#include <algorithm>
#include <cstdlib>
#include <memory>

#include "compress/jieba_dictionary.h"
#include "compress/printable_text.h"
#include "runtime/jieba_segmenter.h"
#include "runtime/tokenizer.h"

using namespace leafcutter;

namespace {

std::shared_ptr<const compress::WordDictionary> dictionary() {
  constexpr const char* kWords = "一 8 n\n一一 4 n\n一一丁 1 n\n丁一 2 n\nC++ 3 n\na-b 2 n\n3丁 2 n\n100% 1 n\n";
  constexpr const char* kStart = "P={'B': -0.5, 'E': -3.14e100, 'M': -3.14e100, 'S': -1.0}";
  constexpr const char* kTransitions =
      "P={'B': {'E': -0.5, 'M': -1.0}, 'E': {'B': -0.5, 'S': -1.0}, 'M': {'E': -0.5, 'M': -1.0}, 'S': {'B': -0.5, 'S': -0.5}}";
  constexpr const char* kEmissions =
      "P={'B': {'一': -1.0, '丁': -2.0, '七': -1.0}, 'M': {'七': -1.0}, 'E': {'丁': -1.0, '七': -1.0}, 'S': {'丁': -1.0}}";
  return std::make_shared<const compress::WordDictionary>(compress::parse_jieba({kWords, kStart, kTransitions, kEmissions}, "jieba"));
}

runtime::Tokenizer tokenizer() {
  compress::TokenizerData data;
  data.kind = compress::TokenizerKind::longest_match;
  data.tokens = {"<unk>", "<s>", "一", "一丁", "a", "a1", "\n", " ", "七七", "<"};
  data.kinds.assign(data.tokens.size(), compress::TokenKind::normal);
  data.kinds[0] = compress::TokenKind::unknown;
  data.kinds[1] = compress::TokenKind::special;
  data.unknown_id = 0;
  data.dictionary = dictionary();
  return runtime::Tokenizer(std::move(data), "fuzz.leaf");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const runtime::JiebaSegmenter segmenter(dictionary(), "fuzz.leaf");
  static const runtime::Tokenizer ant = tokenizer();
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (compress::is_utf8(text)) {
    std::string_view rest = text;
    segmenter.cut(text, [&](std::string_view word) {
      if (word.empty() || word.data() != rest.data() || word.size() > rest.size()) std::abort();
      rest.remove_prefix(word.size());
    });
    if (!rest.empty()) std::abort();
  }
  const auto ids = ant.encode(text);
  if (ids.size() > size || std::count(ids.begin(), ids.end(), 1u) > 0) std::abort();
  for (const std::uint32_t id : ids)
    if (id >= 10) std::abort();
  ant.decode(ant.encode(text, true), true);
  return 0;
}
