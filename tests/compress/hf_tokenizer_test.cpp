#include "compress/hf_tokenizer.h"

#include <doctest/doctest.h>

#include "tests/support/expect_error.h"

using namespace leafcutter;
using namespace leafcutter::compress;
using nlohmann::json;

namespace {

struct Read {
  std::optional<TokenizerData> data;
  std::vector<std::string> notes;
};

Read read(const std::string& text, const json& config = nullptr) {
  Read out;
  out.data = tokenizer_from_json(text, config, "tokenizer.json", out.notes);
  return out;
}

constexpr const char* kByteLevel = R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":true})";

std::string file_of(const std::string& vocab, const std::string& merges, const std::string& pre = kByteLevel,
                    const std::string& more = "") {
  return R"({"version":"1.0","added_tokens":[{"id":4,"content":"<end>","special":true},{"id":5,"content":"<tag>","special":false}],"normalizer":null,"pre_tokenizer":)" +
         pre + more + R"(,"model":{"type":"BPE","vocab":)" + vocab + R"(,"merges":)" + merges + "}}";
}

constexpr const char* kVocab = R"({"a":0,"b":1,"ab":2,"aab":3})";

struct BadFile {
  std::string text;
  const char* part;
};

const BadFile kBadTokenizers[] = {
    {"", "no JSON at byte"},
    {"7", "has no model"},
    {"{}", "has no model"},
    {R"({"model":[]})", "has no model"},
    {file_of(kVocab, "[]").substr(0, 200), "no JSON at byte"},
    {std::string(1000, '['), "nested deeper than 32"},
    {R"({"model":)" + std::string(200'000, '['), "nested deeper than 32"},
    {file_of(R"({"a":-1})", "[]"), "model.vocab"},
    {file_of(R"({"a":0.5})", "[]"), "model.vocab"},
    {file_of(R"({"a":1e999})", "[]"), "no JSON at byte"},
    {file_of(R"({"a":"0"})", "[]"), "model.vocab"},
    {file_of(R"({"a":[0]})", "[]"), "model.vocab"},
    {file_of(R"({"a":{"b":0}})", "[]"), "model.vocab"},
    {file_of(R"({"a":4294967295})", "[]"), "id 4294967295 for 1 tokens"},
    {file_of(R"({"a":18446744073709551615})", "[]"), "for 1 tokens"},
    {file_of(kVocab, R"(["ab"])"), "merge 0 has no space"},
    {file_of(kVocab, R"(["a b","a zz"])"), "merge 1 names \"zz\""},
    {file_of(kVocab, R"(["b a"])"), "names \"ba\""},
    {file_of(kVocab, R"([["a","b","ab"]])"), "merge 0 is no pair"},
    {file_of(kVocab, R"([["a"]])"), "is no pair"},
    {file_of(kVocab, R"([7])"), "model.merges"},
    {file_of(kVocab, R"([{"a":"b"}])"), "model.merges"},
    {file_of(kVocab, R"([[["a"],"b"]])"), "model.merges"},

    {file_of(kVocab, "[]", R"({"type":"ByteLevel","use_regex":"maybe"})"), "field use_regex"},
    {R"({"added_tokens":[{"id":99999999,"content":"x"}],"pre_tokenizer":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{"a":0},"merges":[]}})",
     "an id of 99999999"},
    {R"({"added_tokens":[{"id":"1"}],"pre_tokenizer":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{"a":0},"merges":[]}})",
     "field id"},
    {R"({"pre_tokenizer":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{},"merges":[]}})", "has no tokens"},
};

}  // namespace

TEST_CASE("vocabulary, merges in both spellings, added tokens and named tokens are read") {
  for (const char* merges : {R"(["a b","a ab"])", R"([["a","b"],["a","ab"]])"}) {
    const json config = {{"bos_token", "<tag>"}, {"eos_token", {{"content", "<end>"}}}};
    const Read got = read(file_of(kVocab, merges), config);
    REQUIRE(got.data.has_value());
    CHECK(got.data->tokens == std::vector<std::string>{"a", "b", "ab", "aab", "<end>", "<tag>"});
    CHECK(got.data->kinds[4] == TokenKind::special);
    CHECK(got.data->kinds[5] == TokenKind::user_defined);
    REQUIRE(got.data->merges.size() == 2);
    CHECK(got.data->merges[1].left == 0);
    CHECK(got.data->merges[1].right == 2);
    CHECK(got.data->merges[1].result == 3);
    CHECK(got.data->end_id == 4);
    CHECK(got.data->begin_id == 5);
    CHECK_FALSE(got.data->add_begin);
    CHECK(got.data->splits.size() == 1);
  }
}

TEST_CASE("a post-processor's template says whether the begin token goes in front") {
  const std::string post = R"(,"post_processor":{"type":"Sequence","processors":[{"type":"ByteLevel"},{"type":"TemplateProcessing",
      "single":[{"SpecialToken":{"id":"<tag>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}]}]})";
  CHECK(read(file_of(kVocab, "[]", kByteLevel, post), {{"bos_token", "<tag>"}}).data->add_begin);
  CHECK_FALSE(read(file_of(kVocab, "[]", kByteLevel, post), {{"bos_token", "<end>"}}).data->add_begin);
  CHECK_FALSE(read(file_of(kVocab, "[]", kByteLevel, post)).data->add_begin);
}

TEST_CASE("a merge whose left part begins with a space is cut at the second one") {
  const Read got = read(file_of(R"({" ":0,"a":1," a":2})", R"(["  a"])"));
  REQUIRE(got.data.has_value());
  CHECK(got.data->merges[0].left == 0);
}

TEST_CASE("what is not served leaves a note and no tokenizer") {
  const std::pair<std::string, const char*> kinds[] = {
      {R"({"model":{"type":"Unigram","vocab":[["a",0.0]]}})", "Unigram"},
      {R"({"model":{"type":"WordPiece","vocab":{"a":0}}})", "WordPiece"},
      {file_of(kVocab, "[]", R"({"type":"UnicodeScripts"})"), "UnicodeScripts"},
      {file_of(kVocab, "[]", R"({"type":"Sequence","pretokenizers":[{"type":"BertPreTokenizer"},{"type":"ByteLevel"}]})"),
       "BertPreTokenizer"},
      {file_of(kVocab, "[]", R"({"type":"Sequence","pretokenizers":[{"type":"ByteLevel"},{"type":"Metaspace"}]})"), "behind ByteLevel"},
      {file_of(kVocab, "[]", R"({"type":"Split","pattern":{"Regex":"[a[b]]"},"behavior":"Isolated"})"), "expression [a[b]]"},
      {file_of(kVocab, "[]", R"({"type":"Split","pattern":{"Regex":"[a-z&&b]"},"behavior":"Isolated"})"), "expression"},
      {file_of(kVocab, "[]", R"x({"type":"Split","pattern":{"Regex":"(?m:a)"},"behavior":"Isolated"})x"), "expression"},
      {file_of(kVocab, "[]", R"x({"type":"Split","pattern":{"Regex":"(a"},"behavior":"Isolated"})x"),
       "expression (a does not compile at 2: "},
      {file_of(kVocab, "[]", R"x({"type":"Split","pattern":{"Regex":"(?<=a+)b|\\p{Sundanese_}"},"behavior":"Isolated"})x"),
       "does not compile"},
      {file_of(kVocab, "[]", R"({"type":"Split","pattern":{"Regex":"a"},"behavior":"Sideways"})"), "Sideways"},
      {file_of(kVocab, "[]", R"({"type":"Split","behavior":"Isolated"})"), "without a pattern"},
      {file_of(kVocab, "[]", R"({"type":"Metaspace","prepend_scheme":"sometimes"})"), "sometimes"},
      {R"({"normalizer":{"type":"Prepend","prepend":"_"},"pre_tokenizer":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{"a":0},"merges":[]}})",
       "beside ByteLevel"},
      {R"({"model":{"type":"BPE","end_of_word_suffix":"</w>","vocab":{"a":0},"merges":[]}})", "end_of_word_suffix"},
      {R"({"normalizer":{"type":"NFC"},"pre_tokenizer":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{"a":0},"merges":[]}})", "NFC"},
  };
  for (const auto& [text, part] : kinds) {
    CAPTURE(text);
    const Read got = read(text);
    CHECK_FALSE(got.data.has_value());
    REQUIRE(got.notes.size() == 1);
    CHECK(got.notes[0].find(part) != std::string::npos);
  }
}

TEST_CASE("a bad tokenizer.json is refused with file and field") {
  for (const BadFile& bad : kBadTokenizers) {
    CAPTURE(bad.text.substr(0, 300));
    leafcutter::test::expect_error([&] { read(bad.text); }, {"tokenizer.json", bad.part});
  }
}

TEST_CASE("every cut of a good tokenizer.json is refused") {
  const std::string good = file_of(kVocab, R"(["a b"])");
  for (std::size_t n = 0; n < good.size(); n++) CHECK_THROWS_AS(read(good.substr(0, n)), Error);
}
