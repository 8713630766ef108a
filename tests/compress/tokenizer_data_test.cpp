#include "compress/tokenizer_data.h"

#include <doctest/doctest.h>

#include <cstring>
#include <functional>

#include "tests/compress/leaf_samples.h"
#include "tests/support/expect_error.h"

using namespace leafcutter;
using namespace leafcutter::compress;
using namespace leafcutter::compress::test;
using leafcutter::test::error_of;
using leafcutter::test::expect_error;

namespace {

using Bytes = std::vector<std::byte>;

bool equal(const TokenizerData& a, const TokenizerData& b) {
  const auto merges_equal = [&] {
    if (a.merges.size() != b.merges.size()) return false;
    return a.merges.empty() || std::memcmp(a.merges.data(), b.merges.data(), a.merges.size() * sizeof(Merge)) == 0;
  };
  const auto splits_equal = [&] {
    if (a.splits.size() != b.splits.size()) return false;
    for (std::size_t i = 0; i < a.splits.size(); i++)
      if (a.splits[i].kind != b.splits[i].kind || a.splits[i].expression != b.splits[i].expression) return false;
    return true;
  };
  return a.kind == b.kind && a.tokens == b.tokens && a.kinds == b.kinds && merges_equal() && splits_equal() && a.add_begin == b.add_begin &&
         a.add_prefix_space == b.add_prefix_space && a.ignore_merges == b.ignore_merges && a.begin_id == b.begin_id &&
         a.end_id == b.end_id && a.unknown_id == b.unknown_id && a.pad_id == b.pad_id && a.end_of_turn_ids == b.end_of_turn_ids &&
         a.chat_template == b.chat_template && a.template_name == b.template_name;
}

TokenizerData large_tokenizer() {
  TokenizerData data;
  for (std::uint32_t i = 0; i < 60000; i++) {
    data.tokens.push_back("t" + std::to_string(i * 7919) + std::string(i % 40, 'x'));
    data.kinds.push_back(TokenKind::normal);
    if (i > 2) data.merges.push_back({i - 1, i / 2, i});
  }
  data.tokens[5] = std::string(TokenizerLimits::kTokenBytes, 'y');
  data.splits = {{SplitRule::Kind::expression, "a"},
                 {SplitRule::Kind::digits, ""},
                 {SplitRule::Kind::expression, std::string(TokenizerLimits::kExpressionBytes, 'b')}};
  data.chat_template = std::string(TokenizerLimits::kTemplateBytes, 'c');
  return data;
}

struct BadData {
  const char* name;
  std::function<void(TokenizerData&)> change;
  const char* message;
};

const BadData kBadData[] = {
    {"no tokens", [](auto& d) { d.tokens.clear(), d.kinds.clear(); }, "tokens, count: is 0"},
    {"a kind too few", [](auto& d) { d.kinds.pop_back(); }, "kinds, count"},
    {"too many tokens", [](auto& d) { d.tokens.resize(TokenizerLimits::kTokens + 1), d.kinds.resize(d.tokens.size()); }, "tokens, count"},
    {"a token too long", [](auto& d) { d.tokens[3] = std::string(TokenizerLimits::kTokenBytes + 1, 'x'); }, "token 3, length"},
    {"an unknown kind of token", [](auto& d) { d.kinds[2] = TokenKind{9}; }, "token 2, kind"},
    {"too many merges", [](auto& d) { d.merges.resize(TokenizerLimits::kMerges + 1); }, "merges, count"},
    {"a merge of a token that is not there", [](auto& d) { d.merges[1].left = 8; }, "merge 1: is 8, there are 8 tokens"},
    {"a merge into a token that is not there", [](auto& d) { d.merges[0].result = 0xffffffff; }, "merge 0"},
    {"too many splits", [](auto& d) { d.splits.resize(65); }, "splits, count"},
    {"an unknown split", [](auto& d) { d.splits[0].kind = SplitRule::Kind{7}; }, "split 0, kind"},
    {"an empty expression", [](auto& d) { d.splits[1].expression.clear(); }, "split 1"},
    {"an expression of digits", [](auto& d) { d.splits[0].expression = "x"; }, "split 0"},
    {"an expression too long", [](auto& d) { d.splits[1].expression = std::string(TokenizerLimits::kExpressionBytes + 1, 'x'); },
     "split 1, length"},
    {"an expression that is no UTF-8", [](auto& d) { d.splits[1].expression = "\xff"; }, "split 1"},
    {"a template too long", [](auto& d) { d.chat_template = std::string(TokenizerLimits::kTemplateBytes + 1, 'x'); }, "chat_template"},
    {"a template that is no UTF-8", [](auto& d) { d.chat_template = "\xc0"; }, "chat_template"},
    {"a template's name with a line break", [](auto& d) { d.template_name = "a\nb"; }, "template_name"},
    {"a template's name too long", [](auto& d) { d.template_name = std::string(65, 'x'); }, "template_name"},
    {"a begin id that is not there", [](auto& d) { d.begin_id = 8; }, "begin_id"},
    {"an end id that is not there", [](auto& d) { d.end_id = 8; }, "end_id"},
    {"an unknown id that is not there", [](auto& d) { d.unknown_id = 100; }, "unknown_id"},
    {"a pad id that is not there", [](auto& d) { d.pad_id = 0xfffffffe; }, "pad_id"},
    {"an end of turn that is not there", [](auto& d) { d.end_of_turn_ids = {8}; }, "end_of_turn_ids"},
    {"too many ends of turn", [](auto& d) { d.end_of_turn_ids.assign(65, 1); }, "end_of_turn_ids, count"},
    {"an unknown kind of tokenizer", [](auto& d) { d.kind = TokenizerKind{9}; }, "kind 9 is not known"},
    {"more bytes than a section may have",
     [](auto& d) { d.tokens.assign(300, std::string(60000, 'x')), d.kinds.assign(300, TokenKind::normal); }, "bytes together"},
};

// Places of docs/format.md.
constexpr std::size_t kHeaderNumbers[] = {4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44};

}  // namespace

TEST_CASE("tokenizer data is the same after its section") {
  TokenizerData least;
  least.tokens = {"a"};
  least.kinds = {TokenKind::normal};
  for (const TokenizerData& data : {small_tokenizer(), least, large_tokenizer()}) {
    const Bytes section = to_section(data);
    CHECK(equal(tokenizer_from_section(section, "a.leaf"), data));
    CHECK(to_section(tokenizer_from_section(section, "a.leaf")) == section);
  }
}

TEST_CASE("data that breaks a limit is not written, and is refused when it is read") {
  for (const BadData& bad : kBadData) {
    CAPTURE(bad.name);
    TokenizerData data = small_tokenizer();
    bad.change(data);
    expect_error([&] { to_section(data); }, {"tokenizer", bad.message});
  }
}

TEST_CASE("every cut of a section is refused with its place") {
  const Bytes whole = to_section(small_tokenizer());
  for (std::size_t n = 0; n < whole.size(); n++) {
    CAPTURE(n);
    const auto message = error_of([&] { tokenizer_from_section(std::span(whole).first(n), "a.leaf"); });
    REQUIRE(message.has_value());
    CHECK(message->find("a.leaf, tokenizer, ") == 0);
    CHECK(message->find("offset ") != std::string::npos);
  }
  Bytes longer = whole;
  longer.push_back(std::byte{0});
  expect_error([&] { tokenizer_from_section(longer, "a.leaf"); }, {"1 bytes belong to nothing"});
}

TEST_CASE("hostile values in every number of the section's header are refused") {
  const Bytes whole = to_section(small_tokenizer());
  std::size_t tried = 0;
  for (std::size_t at : kHeaderNumbers) {
    std::uint32_t original;
    std::memcpy(&original, whole.data() + at, 4);
    for (std::uint32_t value : {std::uint32_t{0}, original + 1, original - 1, original + 64, std::uint32_t{1} << 16, std::uint32_t{1} << 31,
                                ~std::uint32_t{0}, ~std::uint32_t{1}, std::uint32_t{0x7fffffff}, std::uint32_t{1} << 24}) {
      const bool id = at < 20;
      if (value == original || (id && (value < 8 || value == ~std::uint32_t{0}))) continue;
      Bytes bad = whole;
      std::memcpy(bad.data() + at, &value, 4);
      CAPTURE(at);
      CAPTURE(value);
      expect_error([&] { tokenizer_from_section(bad, "a.leaf"); }, {"a.leaf, tokenizer, "});
      tried++;
    }
  }
  CHECK(tried > 70);
}

TEST_CASE("version, kind, flags and reserved bytes are checked") {
  const Bytes whole = to_section(small_tokenizer());
  const auto with = [&](std::size_t at, int value) {
    Bytes bad = whole;
    bad[at] = static_cast<std::byte>(value);
    return bad;
  };
  expect_error([&] { tokenizer_from_section(with(0, 2), "a.leaf"); }, {"version: is 2, this program reads 1"});
  expect_error([&] { tokenizer_from_section(with(1, 0), "a.leaf"); }, {"kind 0 is not known"});
  expect_error([&] { tokenizer_from_section(with(2, 8), "a.leaf"); }, {"flags"});
  expect_error([&] { tokenizer_from_section(with(3, 1), "a.leaf"); }, {"flags"});
  expect_error([&] { tokenizer_from_section(with(48, 6), "a.leaf"); }, {"token 0, kind"});
  expect_error([&] { tokenizer_from_section(Bytes(TokenizerLimits::kSectionBytes + 1), "a.leaf"); }, {"allowed 16777216"});
}

TEST_CASE("any byte of a section changed is refused or gives data that is sound") {
  const Bytes whole = to_section(small_tokenizer());
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
