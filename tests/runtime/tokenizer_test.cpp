// Against what the tokenizers library makes of the same texts (tests/reference/make_tokenizers.py), and against bytes that are no text.
#include "runtime/tokenizer.h"

#include <doctest/doctest.h>

#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <random>

#include "base/error.h"
#include "compress/hf_tokenizer.h"
#include "runtime/text_splitter.h"
#include "tests/support/expect_error.h"

using namespace leafcutter;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

const fs::path kFolder = fs::path(LEAFCUTTER_SOURCE_DIR) / "tests/reference/tokenizers";

std::string content(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  REQUIRE(in.good());
  return {std::istreambuf_iterator<char>(in), {}};
}

compress::TokenizerData data_of(const std::string& name) {
  std::vector<std::string> notes;
  auto data = compress::tokenizer_from_json(content(kFolder / name / "tokenizer.json"),
                                            json::parse(content(kFolder / name / "tokenizer_config.json")), name, notes);
  REQUIRE(data.has_value());
  return compress::tokenizer_from_section(compress::to_section(*data), name);  // as a .leaf brings it
}

runtime::Tokenizer tokenizer_of(const std::string& name) { return runtime::Tokenizer(data_of(name), name); }

const std::vector<std::string> kNames = {"gpt2", "smollm", "llama3", "llama3-ignore-merges"};

std::string joined_in_pieces(const runtime::Tokenizer& tokenizer, std::span<const std::uint32_t> ids) {
  runtime::Utf8Assembler assembler;
  std::string text;
  for (const std::uint32_t id : ids) text += assembler.push(tokenizer.bytes_of(id, true));
  return text + assembler.flush();
}

// Of this process' own time: what others do on the machine does not count.
double seconds_of(const std::function<void()>& work) {
  const std::clock_t start = std::clock();
  work();
  return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
}

// A vocabulary of the 256 bytes alone.
compress::TokenizerData bytes_alone(std::vector<compress::SplitRule> splits) {
  compress::TokenizerData data = data_of("gpt2");
  data.splits = std::move(splits);
  data.merges.clear();
  return data;
}

}  // namespace

TEST_CASE("ids are those of the tokenizers library on every vector, and decode to the text") {
  for (const std::string& name : kNames) {
    const runtime::Tokenizer tokenizer = tokenizer_of(name);
    const json vectors = json::parse(content(kFolder / name / "vectors.json"));
    REQUIRE(vectors.size() >= 400);
    for (const json& vector : vectors) {
      const std::string text = vector["text"].get<std::string>();
      CAPTURE(name);
      CAPTURE(text);
      CHECK(tokenizer.encode(text) == vector["ids"].get<std::vector<std::uint32_t>>());
      const std::vector<std::uint32_t> special = tokenizer.encode(text, true);
      CHECK(special == vector["special"].get<std::vector<std::uint32_t>>());
      CHECK(tokenizer.decode(special, true) == text);
      CHECK(joined_in_pieces(tokenizer, special) == text);
    }
  }
}

TEST_CASE("special tokens come from the text only when asked for, and show only when asked for") {
  const runtime::Tokenizer tokenizer = tokenizer_of("smollm");
  const auto end = tokenizer.id_of("<|im_end|>");
  REQUIRE(end.has_value());
  CHECK(tokenizer.encode("<|im_end|>", true) == std::vector<std::uint32_t>{*end});
  CHECK(tokenizer.encode("<|im_end|>").size() > 1);
  CHECK(tokenizer.is_special(*end));
  CHECK(tokenizer.is_end(*end));
  CHECK(tokenizer.bytes_of(*end).empty());
  CHECK(tokenizer.bytes_of(*end, true) == "<|im_end|>");
  CHECK_FALSE(tokenizer.begin_id().has_value());  // named by the config, but nobody adds it
}

TEST_CASE("ids past the vocabulary give nothing") {
  const runtime::Tokenizer tokenizer = tokenizer_of("gpt2");
  for (const std::uint32_t id : {tokenizer.vocabulary_size(), 1u << 31, ~0u}) {
    CHECK(tokenizer.bytes_of(id, true).empty());
    CHECK_FALSE(tokenizer.is_special(id));
    CHECK_FALSE(tokenizer.is_end(id));
  }
}

TEST_CASE("any bytes go in and come out again") {
  std::mt19937 random(1);
  for (const std::string& name : kNames) {
    const runtime::Tokenizer tokenizer = tokenizer_of(name);
    for (int i = 0; i < 300; i++) {
      std::string text(random() % 60, '\0');
      for (char& c : text) c = static_cast<char>(random() % 3 == 0 ? 'a' + random() % 4 : random());
      CHECK(tokenizer.decode(tokenizer.encode(text, i % 2 == 0), true) == text);
    }
  }
}

TEST_CASE("text in pieces is the text at once, however characters are cut; what is broken for good becomes U+FFFD") {
  const std::string text = "a\u00e9\u4e2d\U0001f642z";
  for (std::size_t a = 0; a <= text.size(); a++)
    for (std::size_t b = a; b <= text.size(); b++) {
      runtime::Utf8Assembler assembler;
      std::string out = assembler.push(text.substr(0, a));
      out += assembler.push(text.substr(a, b - a));
      out += assembler.push(text.substr(b));
      CHECK(out == text);
      CHECK(assembler.flush().empty());
    }
  const auto whole = [](std::string bytes) {
    runtime::Utf8Assembler assembler;
    std::string out;
    for (const char c : bytes) out += assembler.push({&c, 1});
    return out + assembler.flush();
  };
  CHECK(whole("\xff") == "\ufffd");
  CHECK(whole("a\xe4\xb8") == "a\ufffd");
  CHECK(whole("\xe4z") == "\ufffdz");
  CHECK(whole("\xed\xa0\x80").find('\xed') == std::string::npos);  // a surrogate
  CHECK(whole("\xc0\xaf").find('/') == std::string::npos);         // an overlong slash
}

TEST_CASE("a megabyte without a space takes seconds at most") {
  const runtime::Tokenizer tokenizer = tokenizer_of("smollm");
  for (const std::string& text : {std::string(1 << 20, 'a'), std::string(1 << 20, ' '), std::string(1 << 20, '\n'),
                                  std::string(1 << 20, '\xff'), std::string(1 << 20, '1')}) {
    CAPTURE(text[0]);
    std::vector<std::uint32_t> ids;
    CHECK(seconds_of([&] { ids = tokenizer.encode(text); }) < 10);
    CHECK(tokenizer.decode(ids) == text);
  }
}

TEST_CASE("an expression that would take for ever meets its limit, one that is none is refused, both by name") {
  const auto with = [](const char* expression) {
    return runtime::Tokenizer(bytes_alone({{compress::SplitRule::Kind::expression, expression}}), "hostile.leaf");
  };
  const runtime::Tokenizer slow = with("(a+)+$");
  test::expect_error([&] { slow.encode(std::string(3000, 'a') + "b"); }, {"limit"});
  const runtime::Tokenizer recursive = with("(?R)?a|b(?R)");
  const double seconds = seconds_of([&] {
    try {
      recursive.encode(std::string(100'000, 'b'));
    } catch (const Error&) {}
  });
  CHECK(seconds < 10);
  test::expect_error([&] { with("(unclosed"); }, {"hostile.leaf", "expression"});
  test::expect_error([&] { with("\\p{NoSuchScript}"); }, {"hostile.leaf", "expression"});
}

TEST_CASE("an expression that matches nothing at all still moves on") {
  const runtime::Tokenizer tokenizer(bytes_alone({{compress::SplitRule::Kind::expression, "x*"}}), "odd.leaf");
  CHECK(tokenizer.decode(tokenizer.encode("axxb")) == "axxb");
}

TEST_CASE("data that refers to what is not there is refused") {
  compress::TokenizerData data = data_of("gpt2");
  data.merges.push_back({0, 1, 1u << 20});
  test::expect_error([&] { runtime::Tokenizer(data, "bad.leaf"); }, {"bad.leaf", "merge"});
  data = data_of("gpt2");
  data.kinds.pop_back();
  test::expect_error([&] { runtime::Tokenizer(data, "bad.leaf"); }, {"bad.leaf", "kinds"});
}

TEST_CASE("a tokenizer of 50,000 tokens holds little more than its texts") {
  compress::TokenizerData data = data_of("gpt2");
  std::size_t text = 0;
  for (std::uint32_t i = 0; i < 50'000; i++) data.tokens.push_back("token-number-" + std::to_string(i));
  data.kinds.resize(data.tokens.size(), compress::TokenKind::normal);
  for (const std::string& token : data.tokens) text += token.size();
  const runtime::Tokenizer tokenizer(std::move(data), "large.leaf");
  CHECK(tokenizer.memory_bytes() < 3 * text);
  CHECK(tokenizer.memory_bytes() > text);
}

TEST_CASE("Punctuation knows what the tokenizers library knows: U+1B7D came later, U+166D went") {
  const std::string text =
      R"({"pre_tokenizer":{"type":"Punctuation","behavior":"Isolated"},"model":{"type":"BPE","unk_token":"?","vocab":{"?":0,"a":1,"b":2},"merges":[]}})";
  std::vector<std::string> notes;
  const auto data = compress::tokenizer_from_json(text, {}, "tokenizer.json", notes);
  REQUIRE(data.has_value());
  const runtime::TextSplitter splitter(data->splits, "tokenizer.json");
  const auto pieces = [&](const std::string& middle) { return splitter.split("a" + middle + "b").size(); };
  CHECK(pieces("!") == 3);
  CHECK(pieces("$") == 3);
  CHECK(pieces("\u3002") == 3);
  CHECK(pieces("\u166d") == 3);
  CHECK(pieces("\u1b7d") == 1);
  CHECK(pieces("\u2e52") == 1);
}
