// Against what jieba itself makes of the same texts with the same made-up dictionary (tests/reference/make_jieba.py), and against bytes that are no text. With jieba's own
// dictionary: tests/long/compare_jieba.py.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <random>

#include "compress/ant_tokenizer.h"
#include "compress/jieba_dictionary.h"
#include "compress/jieba_folder.h"
#include "runtime/jieba_segmenter.h"
#include "runtime/tokenizer.h"
#include "tests/support/expect_error.h"

using namespace leafcutter;
using leafcutter::test::expect_error;
using nlohmann::json;

namespace {

const std::string kFolder = std::string(LEAFCUTTER_SOURCE_DIR) + "/tests/reference/jieba";

std::string content(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  REQUIRE(in.good());
  return {std::istreambuf_iterator<char>(in), {}};
}

compress::TokenizerData ant_data() {
  std::vector<std::string> notes;
  auto data = compress::ant_tokenizer(kFolder, 1000, kFolder, notes);
  REQUIRE(data.has_value());
  return compress::tokenizer_from_section(compress::to_section(*data), "a.leaf");  // as a .leaf brings it
}

runtime::Tokenizer ant() { return runtime::Tokenizer(ant_data(), "a.leaf"); }

std::vector<std::string> words_of(const runtime::JiebaSegmenter& segmenter, const std::string& text) {
  std::vector<std::string> words;
  segmenter.cut(text, [&](std::string_view word) { words.emplace_back(word); });
  return words;
}

// Jieba's real start and transition tables, with a dictionary of a test's own.
runtime::JiebaSegmenter segmenter_of(const std::string& words, const std::string& emissions) {
  constexpr const char* kStart = "P={'B': -0.26268660809250016, 'E': -3.14e+100, 'M': -3.14e+100, 'S': -1.4652633398537678}";
  constexpr const char* kTransitions =
      "P={'B': {'E': -0.510825623765990, 'M': -0.916290731874155}, 'E': {'B': -0.5897149736854513, 'S': -0.8085250474669937},"
      " 'M': {'E': -0.33344856811948514, 'M': -1.2603623820268226}, 'S': {'B': -0.7211965654669841, 'S': -0.6658631448798212}}";
  return {std::make_shared<const compress::WordDictionary>(compress::parse_jieba({words, kStart, kTransitions, emissions}, "jieba")),
          "jieba"};
}

constexpr const char* kNoEmissions = "P={'B': {}, 'M': {}, 'E': {}, 'S': {}}";

}  // namespace

TEST_CASE("words and ids are those of jieba and of the longest match") {
  const runtime::JiebaSegmenter segmenter(compress::read_jieba_folder(kFolder), kFolder);
  const runtime::Tokenizer tokenizer = ant();
  const json cases = json::parse(content(kFolder + "/cases.json"));
  CHECK(cases.size() > 140);
  for (const json& c : cases) {
    const std::string text = c[0];
    CAPTURE(text);
    CHECK(words_of(segmenter, text) == c[1].get<std::vector<std::string>>());
    CHECK(tokenizer.encode(text) == c[2].get<std::vector<std::uint32_t>>());
  }
}

TEST_CASE("of paths of equal score the longest word is taken") {
  // 8 / 64 * 8 / 64 = 1 / 64, and the sums of the logarithms are equal to the last bit.
  const std::string common = "甲 8 n\n乙 8 n\n丙 46 n\n";
  CHECK(words_of(segmenter_of(common + "甲乙 1 n\n丁 1 n\n", kNoEmissions), "甲乙") == std::vector<std::string>{"甲乙"});
  CHECK(words_of(segmenter_of(common + "甲乙 1 n\n丁 2 n\n", kNoEmissions), "甲乙").size() == 1);  // total 65: the whole word is better
  CHECK(words_of(segmenter_of(common + "甲乙 1 n\n", kNoEmissions), "甲乙").size() == 2);          // total 63: worse
}

TEST_CASE("unknown characters are cut by the model; without any knowledge each is alone") {
  CHECK(words_of(segmenter_of("的 10 n\n", kNoEmissions), "甲乙丙") == std::vector<std::string>{"甲", "乙", "丙"});
  const auto paired = segmenter_of("的 10 n\n", "P={'B': {'甲': -1.0}, 'M': {}, 'E': {'\\u4e59': -1.0}, 'S': {'丙': -1.0}}");
  CHECK(words_of(paired, "甲乙丙") == std::vector<std::string>{"甲乙", "丙"});
  CHECK(words_of(paired, "3.14%甲乙a.b...50%%") == std::vector<std::string>{"3.14%", "甲乙", "a", ".", "b", "...", "50%", "%"});
}

TEST_CASE("characters outside of runs are words alone, a line end of two is one") {
  const auto segmenter = segmenter_of("的 10 n\n", kNoEmissions);
  CHECK(words_of(segmenter, "a\r\n\r\t ，😀\xe4\xb7\xbf\xe9\xbf\x96") ==
        std::vector<std::string>{"a", "\r\n", "\r", "\t", " ", "，", "😀", "\xe4\xb7\xbf", "\xe9\xbf\x96"});
  CHECK(words_of(segmenter, "").empty());
}

TEST_CASE("special tokens are text unless asked for; decoding puts texts together") {
  const runtime::Tokenizer tokenizer = ant();
  CHECK(tokenizer.begin_id() == 6);
  CHECK(tokenizer.is_end(7));
  CHECK_FALSE(tokenizer.is_end(6));
  for (const std::uint32_t id : tokenizer.encode("<s></s><unk><pad><mask><sep><d></d></_></n>")) CHECK((id == 1 || id >= 10));
  CHECK(tokenizer.encode("<s></s><unk><pad><mask>一<d></d></_>", true) == [&] {
    std::vector<std::uint32_t> ids = {6, 7, 1, 0, 2, *tokenizer.id_of("一"), 8, 9};
    const auto rest = tokenizer.encode("</_>");
    ids.insert(ids.end(), rest.begin(), rest.end());
    return ids;
  }());
  CHECK(tokenizer.encode(" \n") == std::vector<std::uint32_t>{5, 4});
  const std::vector<std::uint32_t> ids = {6, *tokenizer.id_of("一"), 5, 4, 1, *tokenizer.id_of("."), 7};
  CHECK(tokenizer.decode(ids) == "一 \n.");
  CHECK(tokenizer.decode(ids, true) == "<s>一 \n<unk>.</s>");
}

TEST_CASE("the unknown id is told") {
  CHECK(ant().is_unknown(1));
  CHECK_FALSE(ant().is_unknown(0));
}

TEST_CASE("broken UTF-8 is as many unknown characters as it has broken parts") {
  const runtime::Tokenizer tokenizer = ant();
  const std::uint32_t one = *tokenizer.id_of("一");
  CHECK(tokenizer.encode("一\xff\xe4\xb8一\xed\xa0\x80") == std::vector<std::uint32_t>{one, 1, 1, one, 1, 1, 1});
  CHECK(tokenizer.encode("\xe4\xb8") == std::vector<std::uint32_t>{1});
  std::mt19937 random(3);
  for (int i = 0; i < 2000; i++) {
    std::string text(random() % 40, '\0');
    for (char& c : text) c = static_cast<char>(random());
    CHECK(tokenizer.encode(text).size() <= text.size());
  }
}

TEST_CASE("a dictionary that contradicts itself makes no tokenizer") {
  const auto with = [](auto&& change) {
    compress::TokenizerData data = ant_data();
    auto dictionary = std::make_shared<compress::WordDictionary>(*data.dictionary);
    change(*dictionary);
    data.dictionary = std::move(dictionary);
    expect_error([&] { runtime::Tokenizer(std::move(data), "a.leaf"); }, {"a.leaf, tokenizer"});
  };
  with([](auto& d) { d.lengths.pop_back(); });
  with([](auto& d) { d.lengths[3]++; });
  with([](auto& d) { d.emissions.pop_back(); });
  with([](auto& d) { d.characters[0] = 0x4dff; });
  with([](auto& d) { d.total = 0; });
  compress::TokenizerData none = ant_data();
  none.dictionary = nullptr;
  expect_error([&] { runtime::Tokenizer(std::move(none), "a.leaf"); }, {"no dictionary"});
  none = ant_data();
  none.unknown_id.reset();
  expect_error([&] { runtime::Tokenizer(std::move(none), "a.leaf"); }, {"no unknown token"});
}
