// The tokenizer section of kind 3. What all kinds have in common: tokenizer_data_test.cpp.
#include <doctest/doctest.h>

#include <cstring>
#include <functional>
#include <limits>

#include "compress/tokenizer_data.h"
#include "tests/support/expect_error.h"

using namespace leafcutter;
using namespace leafcutter::compress;
using leafcutter::test::error_of;
using leafcutter::test::expect_error;

namespace {

using Bytes = std::vector<std::byte>;

WordDictionary small_dictionary() {
  WordDictionary d;
  d.total = 20;
  d.words = "aab\xe4\xb8\x80";
  d.lengths = {1, 2, 3};
  d.frequencies = {3, 4, 5};
  d.start = {-0.5, kNoScore, kNoScore, -1};
  for (std::size_t i = 0; i < kWordStates; i++) d.transitions[i].fill(-static_cast<double>(i) - 1);
  d.characters = {0x4e00, 0x9fd5};
  d.emissions = {{-1, -2, -3, -4}, {-5, -6, -7, kNoScore}};
  return d;
}

TokenizerData data_of(WordDictionary dictionary) {
  TokenizerData data;
  data.kind = TokenizerKind::longest_match;
  data.tokens = {"<unk>", "a", " "};
  data.kinds = {TokenKind::unknown, TokenKind::normal, TokenKind::normal};
  data.unknown_id = 0;
  data.dictionary = std::make_shared<const WordDictionary>(std::move(dictionary));
  return data;
}

struct BadDictionary {
  const char* name;
  std::function<void(WordDictionary&)> change;
  const char* message;
};

constexpr double kInfinity = std::numeric_limits<double>::infinity();

const BadDictionary kBadSections[] = {
    {"a frequency too few", [](auto& d) { d.frequencies.pop_back(); }, "frequencies, count"},
    {"a frequency of 0", [](auto& d) { d.frequencies[1] = 0; }, "word 1: has the frequency 0"},
    {"a total below the sum", [](auto& d) { d.total = 11; }, "total: is 11, the frequencies make 12"},
    {"a total that a double does not hold", [](auto& d) { d.total = (std::uint64_t{1} << 53) + 1; }, "total"},
    {"no words and no total", [](auto& d) { d.words.clear(), d.lengths.clear(), d.frequencies.clear(), d.total = 0; }, "total"},
    {"an empty word", [](auto& d) { d.lengths[0] = 0; }, "word 0"},
    {"a word too long", [](auto& d) { d.lengths[2] = 4; }, "word 2"},
    {"a byte too many", [](auto& d) { d.words += "x"; }, "belong to no word"},
    {"words out of order", [](auto& d) { d.words[0] = 'b'; }, "word 1: does not come after"},
    {"equal words",
     [](auto& d) {
       d.lengths = {1, 1, 4}, d.frequencies = {1, 1, 1};
     },
     "word 1"},
    {"words cut within a character", [](auto& d) { d.words = "aab\xe4\xb8\xff"; }, "word 2: is no UTF-8"},
    {"too many words", [](auto& d) { d.lengths.resize(WordDictionaryLimits::kWords + 1); }, "words, count"},
    {"a start above 0", [](auto& d) { d.start[0] = 0.5; }, "start"},
    {"a start of NaN", [](auto& d) { d.start[3] = std::numeric_limits<double>::quiet_NaN(); }, "start"},
    {"an infinite transition", [](auto& d) { d.transitions[3][3] = -kInfinity; }, "transitions"},
    {"an infinite emission", [](auto& d) { d.emissions[1][2] = kInfinity; }, "emissions of character 1"},
    {"an emission too few", [](auto& d) { d.emissions.pop_back(); }, "emissions, count"},
    {"a character that is none", [](auto& d) { d.characters[0] = 0x4dff; }, "character 0"},
    {"a character past the last", [](auto& d) { d.characters[1] = 0x9fd6; }, "character 1"},
    {"equal characters", [](auto& d) { d.characters[1] = 0x4e00; }, "character 1"},
};

}  // namespace

TEST_CASE("a word dictionary is the same after its section") {
  const TokenizerData data = data_of(small_dictionary());
  const Bytes section = to_section(data);
  // docs/format.md: header 48, tokens 3 * (1 + 2) + 7, dictionary 184 + 3 * (1 + 4) + 6 + 2 * (2 + 32).
  CHECK(section.size() == 48 + 16 + 184 + 15 + 6 + 68);
  const TokenizerData again = tokenizer_from_section(section, "a.leaf");
  REQUIRE(again.dictionary);
  CHECK(*again.dictionary == *data.dictionary);
  CHECK(again.tokens == data.tokens);
  CHECK(to_section(again) == section);
}

TEST_CASE("a dictionary that contradicts itself is not written, and is refused when it is read") {
  for (const BadDictionary& bad : kBadSections) {
    CAPTURE(bad.name);
    WordDictionary dictionary = small_dictionary();
    bad.change(dictionary);
    expect_error([&] { to_section(data_of(dictionary)); }, {"tokenizer", bad.message});
  }
  TokenizerData none = data_of(small_dictionary());
  none.dictionary = nullptr;
  expect_error([&] { to_section(none); }, {"dictionary: is missing"});
}

TEST_CASE("every cut of a section with a dictionary is refused with its place") {
  const Bytes whole = to_section(data_of(small_dictionary()));
  for (std::size_t n = 0; n < whole.size(); n++) {
    CAPTURE(n);
    const auto message = error_of([&] { tokenizer_from_section(std::span(whole).first(n), "a.leaf"); });
    REQUIRE(message.has_value());
    CHECK(message->find("a.leaf, tokenizer, ") == 0);
  }
}

TEST_CASE("any byte of a section with a dictionary changed is refused or gives data that is sound") {
  const Bytes whole = to_section(data_of(small_dictionary()));
  for (std::size_t at = 0; at < whole.size(); at++)
    for (int value : {0, 1, 2, 127, 128, 255}) {
      Bytes bad = whole;
      bad[at] = static_cast<std::byte>(value);
      CAPTURE(at);
      Bytes again;
      const auto message = error_of([&] { again = to_section(tokenizer_from_section(bad, "a.leaf")); });
      CHECK((message ? message->find("a.leaf, tokenizer") == 0 : again == bad));
    }
}

TEST_CASE("counts of the other kinds and counts past the section are refused") {
  const Bytes whole = to_section(data_of(small_dictionary()));
  const std::size_t dictionary = 48 + 16;
  for (const std::size_t at : {std::size_t{24}, std::size_t{28}, dictionary, dictionary + 4, dictionary + 8, dictionary + 12})
    for (const std::uint32_t value : {1u, 7u, 1u << 24, 1u << 31, ~0u}) {
      Bytes bad = whole;
      std::memcpy(bad.data() + at, &value, 4);
      CAPTURE(at);
      CAPTURE(value);
      expect_error([&] { tokenizer_from_section(bad, "a.leaf"); }, {"a.leaf, tokenizer, "});
    }
  Bytes flags = whole;
  flags[2] = std::byte{2};
  expect_error([&] { tokenizer_from_section(flags, "a.leaf"); }, {"flags"});
}
