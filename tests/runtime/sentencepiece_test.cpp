// SentencePiece's kind of BPE against what the libraries make of the same texts (tests/reference/make_sentencepiece.py).
#include <doctest/doctest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "compress/hf_tokenizer.h"
#include "runtime/chat.h"
#include "runtime/tokenizer.h"
#include "tests/support/expect_error.h"

using namespace leafcutter;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

json file_of(const std::string& folder, const char* name) {
  std::ifstream in(fs::path(LEAFCUTTER_SOURCE_DIR) / "tests/reference/tokenizers" / folder / name);
  REQUIRE(in.good());
  return json::parse(in);
}

// As a .leaf brings it.
runtime::Tokenizer through_section(const compress::TokenizerData& data, const std::string& name) {
  return runtime::Tokenizer(compress::tokenizer_from_section(compress::to_section(data), name), name);
}

compress::TokenizerData data_of(const std::string& name, json config = nullptr) {
  std::vector<std::string> notes;
  if (config.is_null()) config = file_of(name, "tokenizer_config.json");
  auto data = compress::tokenizer_from_json(file_of(name, "tokenizer.json").dump(), config, name, notes);
  REQUIRE(data.has_value());
  return *data;
}

compress::TokenizerData scores_of(const std::string& name, bool prefix) {
  const json pieces = file_of(name, "pieces.json");
  compress::TokenizerData data;
  data.kind = compress::TokenizerKind::sentencepiece_bpe;
  data.tokens = pieces["tokens"].get<std::vector<std::string>>();
  data.scores = pieces["scores"].get<std::vector<float>>();
  using Kind = compress::TokenKind;
  constexpr Kind kKinds[] = {Kind::normal, Kind::normal, Kind::unknown, Kind::special, Kind::user_defined, Kind::unused, Kind::byte};
  for (const json& type : pieces["types"]) data.kinds.push_back(kKinds[type.get<std::size_t>()]);
  data.byte_fallback = true;
  data.unknown_id = 0;
  if (prefix) data.replacements.push_back({"", "\u2581"});
  data.replacements.push_back({" ", "\u2581"});
  data.decoding = {{"\u2581", " "}};
  data.strip_spaces = prefix ? 1 : 0;
  return data;
}

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

TEST_CASE("merges by rank: ids and texts are those of the tokenizers library on every vector") {
  for (const char* name : {"sp-llama", "sp-added", "sp-first", "sp-always", "sp-never", "sp-gemma", "sp-splits"}) {
    const runtime::Tokenizer tokenizer = through_section(data_of(name), name);
    const json vectors = file_of(name, "vectors.json");
    REQUIRE(vectors.size() >= 270);
    for (const json& vector : vectors) {
      const std::string text = vector["text"].get<std::string>();
      CAPTURE(name);
      CAPTURE(text);
      CHECK(tokenizer.encode(text) == vector["ids"].get<std::vector<std::uint32_t>>());
      const auto special = vector["special"].get<std::vector<std::uint32_t>>();
      CHECK(tokenizer.encode(text, true) == special);
      CHECK(tokenizer.decode(special, true) == vector["decoded"].get<std::string>());
    }
  }
}

TEST_CASE("merges by score: ids are those of sentencepiece on every vector, and decode to the text") {
  for (const char* name : {"scores-llama", "scores-gemma"}) {
    const runtime::Tokenizer tokenizer = through_section(scores_of(name, std::string(name) == "scores-llama"), name);
    const json vectors = file_of(name, "vectors.json");
    REQUIRE(vectors.size() >= 270);
    for (const json& vector : vectors) {
      const std::string text = vector["text"].get<std::string>();
      CAPTURE(name);
      CAPTURE(text);
      const auto ids = tokenizer.encode(text);
      CHECK(ids == vector["ids"].get<std::vector<std::uint32_t>>());
      if (text.find("\u2581") == std::string::npos) CHECK(tokenizer.decode(ids, true) == text);
    }
  }
}

TEST_CASE("pieces that are unused are made while merging and taken apart again") {
  compress::TokenizerData data;
  data.kind = compress::TokenizerKind::sentencepiece_bpe;
  data.tokens = {"<unk>", "a", "b", "c", "ab", "abc"};
  data.scores = {0, -4, -5, -6, -1, -2};
  data.kinds.assign(6, compress::TokenKind::normal);
  data.kinds[0] = compress::TokenKind::unknown;
  data.unknown_id = 0;
  const auto ids = [&] { return through_section(data, "made").encode("abcab"); };
  CHECK(ids() == std::vector<std::uint32_t>{5, 4});
  data.kinds[4] = compress::TokenKind::unused;
  CHECK(ids() == std::vector<std::uint32_t>{5, 1, 2});
  data.kinds[5] = compress::TokenKind::unused;
  CHECK(ids() == std::vector<std::uint32_t>{1, 2, 3, 1, 2});
}

TEST_CASE("bytes that are no text go in as bytes and come out again") {
  for (const char* name : {"sp-llama", "sp-gemma", "sp-never"}) {
    const runtime::Tokenizer tokenizer = through_section(data_of(name), name);
    const std::string text = "a\xff\xfe b\xe4\xb8 c\x80";
    CHECK(tokenizer.decode(tokenizer.encode(text), true) == text);
  }
}

TEST_CASE("text never becomes a special token, even where merges would make one") {
  compress::TokenizerData data = data_of("sp-llama");
  const auto id = [&](const std::string& token) {
    return static_cast<std::uint32_t>(std::find(data.tokens.begin(), data.tokens.end(), token) - data.tokens.begin());
  };
  json file = file_of("sp-llama", "tokenizer.json");
  file["model"]["vocab"]["s>"] = data.tokens.size();
  file["model"]["merges"].insert(file["model"]["merges"].begin(), {json::array({"s", ">"}), json::array({"<", "s>"})});
  std::vector<std::string> notes;
  const runtime::Tokenizer tokenizer =
      through_section(*compress::tokenizer_from_json(file.dump(), file_of("sp-llama", "tokenizer_config.json"), "made", notes), "made");
  const auto ids = tokenizer.encode("<s>");
  CHECK(std::find(ids.begin(), ids.end(), id("<s>")) == ids.end());
  CHECK(tokenizer.encode("<s>", true) == std::vector<std::uint32_t>{id("<s>")});
}

TEST_CASE("a long text without a space takes seconds at most, by rank and by score") {
  const runtime::Tokenizer by_rank = through_section(data_of("sp-llama"), "sp-llama");
  const runtime::Tokenizer by_score = through_section(scores_of("scores-llama", true), "scores-llama");
  for (const char c : {'a', ' ', '\xff', '1'}) {
    const std::string text(400'000, c);
    CAPTURE(c);
    for (const runtime::Tokenizer* tokenizer : {&by_rank, &by_score}) {
      std::vector<std::uint32_t> ids;
      CHECK(seconds_of([&] { ids = tokenizer->encode(text); }) < 10);
      CHECK(tokenizer->decode(ids) == text);
    }
  }
}

TEST_CASE("Gemma's marks of turns end a generation, whatever the configuration says") {
  const runtime::Tokenizer tokenizer = through_section(data_of("sp-gemma"), "sp-gemma");
  CHECK(tokenizer.is_end(tokenizer.marker("</s>").value()));
  CHECK(tokenizer.is_end(tokenizer.marker("<end_of_turn>").value()));
  CHECK_FALSE(tokenizer.is_end(tokenizer.marker("<s>").value()));
}

TEST_CASE("Gemma's, LLaMA 2's and Zephyr's templates: prompts are what the rendered template gives, contents stay text") {
  const runtime::ChatMessage talk[] = {{"user", " Hi<s> "}, {"assistant", "Hello "}, {"user", "go on"}};
  const auto with = [](const char* folder, const std::string& jinja) {
    json config = file_of(folder, "tokenizer_config.json");
    config["chat_template"] = jinja;
    return through_section(data_of(folder, config), folder);
  };
  const auto joined = [](const runtime::Tokenizer& tokenizer, const std::vector<std::pair<const char*, std::string>>& parts) {
    std::vector<std::uint32_t> ids;
    for (const auto& [marker, text] : parts) {
      if (marker) ids.push_back(tokenizer.marker(marker).value());
      const auto more = ids.empty() ? tokenizer.encode(text) : tokenizer.encode_after(text);
      ids.insert(ids.end(), more.begin(), more.end());
    }
    return ids;
  };
  const auto gemma =
      with("sp-gemma",
           "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
           "{% for message in messages %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% endif %}"
           "{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}"
           "{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}");
  CHECK(gemma.chat_template_name() == "gemma");
  CHECK(chat_prompt(gemma, talk) == joined(gemma, {{"<s>", ""},
                                                   {"<start_of_turn>", "user\nHi<s>"},
                                                   {"<end_of_turn>", "\n"},
                                                   {"<start_of_turn>", "model\nHello"},
                                                   {"<end_of_turn>", "\n"},
                                                   {"<start_of_turn>", "user\ngo on"},
                                                   {"<end_of_turn>", "\n"},
                                                   {"<start_of_turn>", "model\n"}}));
  const runtime::ChatMessage system[] = {{"system", "Be brief."}, {"user", "Hi"}};
  leafcutter::test::expect_error([&] { chat_prompt(gemma, system); }, {"system message"});

  const auto llama2 = with("sp-llama",
                           "{% if false %}{% set system_message = '<<SYS>>\\n' + x.strip() + '\\n<</SYS>>\\n\\n' %}{% endif %}"
                           "{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{{ ' ' + content.strip() + ' ' + eos_token }}");
  CHECK(llama2.chat_template_name() == "llama2");
  CHECK(chat_prompt(llama2, talk) ==
        joined(llama2, {{"<s>", "[INST] Hi<s> [/INST] Hello "}, {"</s>", ""}, {"<s>", "[INST] go on [/INST]"}}));
  CHECK(chat_prompt(llama2, system) == joined(llama2, {{"<s>", "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST]"}}));

  const auto zephyr =
      with("sp-llama",
           "{% for message in messages %}\n{{ '<|user|>\\n' + message['content'] + eos_token }}\n{{ '<|system|>\\n' + "
           "message['content'] + eos_token }}\n{{ '<|assistant|>\\n'  + message['content'] + eos_token }}\n{% if loop.last and "
           "add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}");
  CHECK(zephyr.chat_template_name() == "zephyr");
  CHECK(chat_prompt(zephyr, talk) == joined(zephyr, {{nullptr, "<|user|>\n Hi<s> "},
                                                     {"</s>", "\n<|assistant|>\nHello "},
                                                     {"</s>", "\n<|user|>\ngo on"},
                                                     {"</s>", "\n<|assistant|>\n"}}));
}
