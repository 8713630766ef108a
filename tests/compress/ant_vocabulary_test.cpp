#include "compress/ant_vocabulary.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>

#include "compress/ant_tokenizer.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"

using namespace leafcutter;
using namespace leafcutter::compress;
using leafcutter::test::expect_error;

namespace {

const std::string kNames = "<pad>\n<unk>\n<mask>\n<sep>\n</n>\n</_>\n<s>\n</s>\n<d>\n</d>\n";

TokenizerData read(const std::string& text, std::uint32_t vocab_size = 100, std::vector<std::string>* notes = nullptr) {
  std::vector<std::string> ignored;
  return ant_vocabulary(text, nullptr, vocab_size, "ant.txt", notes ? *notes : ignored);
}

std::string with_line_ends(std::string text, const std::string& end) {
  for (std::size_t at = 0; (at = text.find('\n', at)) != std::string::npos; at += end.size()) text.replace(at, 1, end);
  return text;
}

}  // namespace

TEST_CASE("ids are the numbers of lines; space and line break get their texts; special tokens are found by name") {
  const TokenizerData data = read(kNames + "a\nab\n\xe3\x80\x80\n<s1>");
  CHECK(data.kind == TokenizerKind::longest_match);
  CHECK(data.tokens.size() == 14);
  CHECK(data.tokens[4] == "\n");
  CHECK(data.tokens[5] == " ");
  CHECK(data.tokens[11] == "ab");
  CHECK(data.tokens[12] == "\xe3\x80\x80");
  CHECK(data.kinds[1] == TokenKind::unknown);
  for (const std::uint32_t id : {0, 2, 3, 6, 7, 8, 9}) CHECK(data.kinds[id] == TokenKind::special);
  for (const std::uint32_t id : {4, 5, 10, 11, 12, 13}) CHECK(data.kinds[id] == TokenKind::normal);
  CHECK(data.begin_id == 6);
  CHECK(data.end_id == 7);
  CHECK(data.unknown_id == 1);
  CHECK(data.pad_id == 0);
  CHECK(data.add_begin);
}

TEST_CASE("any line end serves, also after the last line") {
  const std::string text = kNames + "a\n";
  for (const std::string end : {"\n", "\r\n", "\r"})
    for (const std::string tail : {"", "\n", "\n\n\n"}) CHECK(read(with_line_ends(text + tail, end)).tokens == read(text).tokens);
}

TEST_CASE("fewer lines than the model has tokens give a note") {
  std::vector<std::string> notes;
  read(kNames, 10, &notes);
  CHECK(notes.empty());
  read(kNames, 11, &notes);
  CHECK(notes.size() == 1);
}

TEST_CASE("a token that is a space as it stands makes room for </_>") {
  const TokenizerData data = read(kNames + " \nb");
  CHECK(data.kinds[10] == TokenKind::unused);
  CHECK(data.kinds[5] == TokenKind::normal);
}

TEST_CASE("a vocabulary that is none is refused with its line") {
  struct Bad {
    std::string text, message;
  };
  std::string without_end = kNames;
  without_end.erase(without_end.find("</s>\n"), 5);
  for (const Bad& bad : {Bad{"", "no token <s>"},
                         {without_end, "no token </s>"},
                         {kNames + "a\na", "line 12: \"a\" is on line 11 too"},
                         {kNames + "\na", "line 12: line 11 before it is empty"},
                         {kNames + "\xff", "line 11: is no UTF-8"},
                         {kNames + std::string(70000, 'x'), "a token of 70000 bytes"},
                         {"<unk>\n<s>\n</s>\n</n>\nb", "no token </_>"}}) {
    CAPTURE(bad.message);
    expect_error([&] { read(bad.text); }, {"ant.txt", bad.message});
  }
  expect_error([&] { read(kNames + "a", 10); }, {"ant.txt, line 11: more lines than the model's 10 tokens"});
  expect_error([&] { read(kNames + "\x1b[2J\n\x1b[2J"); }, {"?[2J"});
}

TEST_CASE("ant.txt is preferred; without a vocabulary, or with a jieba folder that is none, there is a note or an error") {
  const leafcutter::test::TemporaryFolder folder;
  std::vector<std::string> notes;
  CHECK_FALSE(ant_tokenizer(folder.path(), 10, "/nowhere", notes).has_value());
  REQUIRE(notes.size() == 1);
  CHECK(notes[0].find("runs on ids") != std::string::npos);
  std::ofstream(folder.file("vocab.txt")) << "broken";
  std::ofstream(folder.file("ant.txt")) << kNames;
  expect_error([&] { ant_tokenizer(folder.path(), 10, "/nowhere", notes); }, {"/nowhere/dict.txt"});
  const auto data = ant_tokenizer(folder.path(), 10, std::string(LEAFCUTTER_SOURCE_DIR) + "/tests/reference/jieba", notes);
  REQUIRE(data.has_value());
  CHECK(data->tokens.size() == 10);
  CHECK(data->dictionary->total > 0);
}
