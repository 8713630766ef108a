#include "compress/jieba_dictionary.h"

#include <doctest/doctest.h>

#include "compress/jieba_folder.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"

using namespace leafcutter;
using namespace leafcutter::compress;
using leafcutter::test::expect_error;

namespace {

constexpr const char* kStart = "P={'B': -0.5, 'E': -3.14e+100, 'M': -3.14e+100, 'S': -1}\n";
constexpr const char* kTransitions = "P={'B': {'E': -0.5}, 'M': {'M': -2}, 'E': {'S': -0.25}, 'S': {}}";
constexpr const char* kEmissions =
    "from __future__ import unicode_literals\n\n# a remark\nP={'B': {'\\u4e00': -1.5, \"\xe4\xb8\x81\": -2, '\\u2236': -3}, 'M': {}, u'E': "
    "{}, 'S': {'\xe4\xb8\x81': -2.5,},}\n";

WordDictionary parse(std::string_view words, std::string_view start = kStart, std::string_view transitions = kTransitions,
                     std::string_view emissions = kEmissions) {
  return parse_jieba({words, start, transitions, emissions}, "jieba");
}

}  // namespace

TEST_CASE("a dictionary is sorted; the last of equal words counts, the total has all") {
  const WordDictionary d = parse("bb 5 n\naa 3\r\n aa 7 x y \nzero 0 n\ncc 0 n\ncc 2 n\ndd 2 n\ndd 0 n");
  CHECK(d.words == "aabbcc");
  CHECK(d.lengths == std::vector<std::uint8_t>{2, 2, 2});
  CHECK(d.frequencies == std::vector<std::uint32_t>{7, 5, 2});
  CHECK(d.total == 19);
}

TEST_CASE("tables give scores by state, what is missing has jieba's score for nothing") {
  const WordDictionary d = parse("a 1");
  CHECK(d.start == StateScores{-0.5, -3.14e100, -3.14e100, -1});
  CHECK(d.transitions[kBegin] == StateScores{kNoScore, kNoScore, -0.5, kNoScore});
  CHECK(d.transitions[kEnd] == StateScores{kNoScore, kNoScore, kNoScore, -0.25});
  CHECK(d.characters == std::vector<std::uint16_t>{0x4e00, 0x4e01});
  CHECK(d.emissions[0] == StateScores{-1.5, kNoScore, kNoScore, kNoScore});
  CHECK(d.emissions[1] == StateScores{-2, kNoScore, kNoScore, -2.5});
}

TEST_CASE("words that are none are refused with their line") {
  struct Bad {
    std::string text, message;
  };
  for (const Bad& bad : {Bad{"", "holds no word"},
                         {"a 1\n\nb 1", "line 2"},
                         {"a 1\nword", "line 2"},
                         {"a", "no word and frequency"},
                         {"a  1", "frequency"},
                         {"a -1", "frequency"},
                         {"a +1", "frequency"},
                         {"a 1x", "frequency"},
                         {"a 1.5", "frequency"},
                         {"a 4294967296", "frequency"},
                         {"a 99999999999999999999999", "frequency"},
                         {"a 0", "holds no word"},
                         {"\xff 1", "UTF-8"},
                         {"\xed\xa0\x80 1", "UTF-8"},
                         {std::string(256, 'a') + " 1", "256 bytes"},
                         {"a 1\n\x1b[31m 1x", "line 2"}}) {
    CAPTURE(bad.text);
    expect_error([&] { parse(bad.text); }, {"jieba/dict.txt", bad.message});
  }
  std::string many;
  for (std::size_t i = 0; i <= WordDictionaryLimits::kWords; i++) many += "a 1\n";
  expect_error([&] { parse(many); }, {"line 1048577", "more than 1048576 words"});
}

TEST_CASE("what is no plain table is refused with its line, and nothing of it is carried out") {
  struct Bad {
    std::string text, message;
  };
  for (const Bad& bad : {Bad{"", "the end"},
                         {"import os\nP={}", "line 1"},
                         {"P=__import__('os').system('true')", "not a plain table"},
                         {"P={'B': open('x')}", "expected a number"},
                         {"P={'B': -1", "expected ,"},
                         {"P={'B': -1}", "no row"},
                         {"P={'B': -1, 'B': -1}", "comes twice"},
                         {"P={'X': -1}", "none of the states"},
                         {"P={'BM': -1}", "none of the states"},
                         {"P={'B': 1}", "no logarithm"},
                         {"P={'B': nan}", "no logarithm"},
                         {"P={'B': -inf}", "no logarithm"},
                         {"P={'B': -1e999}", "expected a number"},
                         {"P={'B': -1x}", "expected a number"},
                         {"P={'B' -1}", "expected :"},
                         {"P={B: -1}", "quotes"},
                         {"P={'B: -1}", "does not end"},
                         {"P={'B\\x41': -1}", "escape"},
                         {"P={'\\u12': -1}", "escape"},
                         {"P={'\\ud800': -1}", "UTF-8"},
                         {"P={'\xff': -1}", "UTF-8"},
                         {"P={'" + std::string(100, 'a') + "': -1}", "64 bytes"},
                         {"P={'B': {'E': -1}}", "expected a number"},
                         {std::string(kStart) + "x", "follows"},
                         {std::string(kStart) + std::string(1, '\0'), "follows"},
                         {"P=[1]", "expected {"},
                         {std::string("P=") + std::string(100000, '{'), "quotes"},
                         {"\n\n\nP={,}", "line 4"}}) {
    CAPTURE(bad.text.substr(0, 80));
    expect_error([&] { parse("a 1", bad.text); }, {"jieba/finalseg/prob_start.py, line ", bad.message});
  }
  expect_error([&] { parse("a 1", kStart, kStart); }, {"prob_trans.py", "expected {"});
  expect_error([&] { parse("a 1", kStart, "P={'B': {'Q': -1}}"); }, {"prob_trans.py", "none of the states"});
  expect_error([&] { parse("a 1", kStart, kTransitions, "P={'B': {'\\u4e00': 0.5}}"); }, {"prob_emit.py", "no logarithm"});
}

TEST_CASE("a folder that is no jieba is refused with what is missing") {
  const leafcutter::test::TemporaryFolder folder;
  expect_error([&] { read_jieba_folder(folder.path()); }, {"dict.txt", "there is none", "--jieba"});
  expect_error([&] { read_jieba_folder("/nowhere"); }, {"/nowhere/dict.txt"});
}
