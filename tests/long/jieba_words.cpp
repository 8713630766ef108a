// jieba_words FOLDER [VOCABULARY] < TEXT: the lengths of a text's words in bytes, one a line; with a vocabulary in ant.txt's form the ids, one a line. FOLDER: of an
// installed jieba. For compare_jieba.py.
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>

#include "base/error.h"
#include "compress/ant_vocabulary.h"
#include "compress/jieba_folder.h"
#include "runtime/jieba_segmenter.h"
#include "runtime/tokenizer.h"

namespace {

std::string content(std::istream& in) { return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()}; }

}  // namespace

int main(int count, char** arguments) {
  using namespace leafcutter;
  try {
    if (count < 2) throw Error(ErrorKind::usage, "jieba_words", "wants a folder");
    const std::string text = content(std::cin);
    const auto dictionary = compress::read_jieba_folder(arguments[1]);
    if (count == 2) {
      runtime::JiebaSegmenter(dictionary, arguments[1]).cut(text, [](std::string_view word) { std::printf("%zu\n", word.size()); });
      return 0;
    }
    std::ifstream file(arguments[2]);
    std::vector<std::string> notes;
    // Through the section, as a .leaf does it.
    const auto section =
        to_section(compress::ant_vocabulary(content(file), dictionary, compress::TokenizerLimits::kTokens, arguments[2], notes));
    const runtime::Tokenizer tokenizer(compress::tokenizer_from_section(section, "section"), "section");
    std::fprintf(stderr, "%zu bytes of section, %zu in memory\n", section.size(), tokenizer.memory_bytes());
    for (const std::uint32_t id : tokenizer.encode(text)) std::printf("%u\n", id);
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
