#include <algorithm>
#include <cmath>
#include <string_view>

#include "base/error.h"
#include "compress/chat_templates.h"
#include "compress/gguf_model.h"
#include "compress/merge_builder.h"
#include "compress/printable_text.h"
#include "compress/split_rules.h"

namespace leafcutter::compress {
namespace {

// llama.cpp's token types.
TokenKind kind_of(std::uint64_t type) {
  switch (type) {
    case 2:
      return TokenKind::unknown;
    case 3:
      return TokenKind::special;
    case 4:
      return TokenKind::user_defined;
    case 5:
      return TokenKind::unused;
    case 6:
      return TokenKind::byte;
    default:
      return TokenKind::normal;
  }
}

std::optional<std::uint32_t> id(const GgufHeader& header, const char* key, std::size_t tokens) {
  const auto number = header.number(std::string("tokenizer.ggml.") + key);
  if (!number || *number >= tokens) return std::nullopt;
  return static_cast<std::uint32_t>(*number);
}

void read_merges(const GgufHeader& header, const PreTokenizer& rules, TokenizerData& data) {
  data.splits = rules.splits;
  data.ignore_merges = rules.ignore_merges;
  data.add_prefix_space = header.flag("tokenizer.ggml.add_space_prefix").value_or(false);
  MergeBuilder merges(data.tokens, header.file());
  header.for_each_text("tokenizer.ggml.merges", [&](std::uint64_t i, std::string_view merge) {
    const std::size_t space = merge.find(' ', 1);
    if (space == std::string_view::npos)
      throw Error(ErrorKind::bad_file, header.file() + ", key tokenizer.ggml.merges", "merge " + std::to_string(i) + " has no space");
    merges.add(merge.substr(0, space), merge.substr(space + 1));
  });
  data.merges = merges.take();
  drop_special_merges(data);
}

// SentencePiece's model as it is: pieces with scores. Spaces become U+2581, one more goes in front.
void read_scores(const GgufHeader& header, TokenizerData& data) {
  constexpr const char* kSpaceSign = "\u2581";
  const std::string place = header.file() + ", key tokenizer.ggml.scores";
  data.kind = TokenizerKind::sentencepiece_bpe;
  data.scores = header.reals("tokenizer.ggml.scores");
  if (data.scores.size() != data.tokens.size())
    throw Error(ErrorKind::bad_file, place,
                std::to_string(data.scores.size()) + " scores for " + std::to_string(data.tokens.size()) + " tokens");
  if (std::any_of(data.scores.begin(), data.scores.end(), [](float score) { return std::isnan(score); }))
    throw Error(ErrorKind::bad_file, place, "one is no number");
  // Files without types of tokens: the bytes and the first three are known by their spelling.
  for (std::size_t i = 0; i < data.tokens.size() && !header.find("tokenizer.ggml.token_type"); i++) {
    if (is_byte_token(data.tokens[i])) data.kinds[i] = TokenKind::byte;
    if (data.tokens[i] == "<s>" || data.tokens[i] == "</s>") data.kinds[i] = TokenKind::special;
    if (data.tokens[i] == "<unk>") data.kinds[i] = TokenKind::unknown;
  }
  data.byte_fallback = std::find(data.kinds.begin(), data.kinds.end(), TokenKind::byte) != data.kinds.end();
  const bool prefix = header.flag("tokenizer.ggml.add_space_prefix").value_or(true);
  if (prefix) data.replacements.push_back({"", kSpaceSign});
  data.replacements.push_back({" ", kSpaceSign});
  data.decoding = {{kSpaceSign, " "}};
  data.strip_spaces = prefix ? 1 : 0;
}

}  // namespace

std::optional<TokenizerData> tokenizer_from_gguf(const GgufHeader& header, std::vector<std::string>& notes) {
  const std::string model = header.text("tokenizer.ggml.model").value_or("");
  if (model.empty()) {
    notes.push_back("no tokenizer in the file: it runs on ids");
    return std::nullopt;
  }
  const std::string pre = header.text("tokenizer.ggml.pre").value_or(model == "llama" ? "default" : "gpt-2");
  const auto rules = model == "gpt2" ? pre_tokenizer(pre) : std::nullopt;
  const bool sentencepiece = model == "llama" && header.find("tokenizer.ggml.scores") != nullptr;
  if (!rules && !sentencepiece) {
    notes.push_back("tokenizer \"" + printable_text(model, 40) + "\" with pre-tokenizer \"" + printable_text(pre, 40) +
                    "\" is not served yet: the model runs on ids");
    return std::nullopt;
  }
  if (sentencepiece && header.flag("tokenizer.ggml.remove_extra_whitespaces").value_or(false)) {
    notes.push_back("a tokenizer that removes white space is not served yet: the model runs on ids");
    return std::nullopt;
  }
  TokenizerData data;
  header.for_each_text("tokenizer.ggml.tokens", [&](std::uint64_t i, std::string_view token) {
    if (i >= TokenizerLimits::kTokens || token.size() > TokenizerLimits::kTokenBytes)
      throw Error(ErrorKind::bad_file, header.file() + ", key tokenizer.ggml.tokens", "token " + std::to_string(i) + " is past the limits");
    data.tokens.emplace_back(token);
  });
  if (data.tokens.empty()) throw Error(ErrorKind::bad_file, header.file() + ", key tokenizer.ggml.tokens", "there are none");
  data.kinds.assign(data.tokens.size(), TokenKind::normal);
  if (const GgufValue* types = header.find("tokenizer.ggml.token_type")) {
    if (types->count != data.tokens.size() || types->element == GgufType::string)
      throw Error(ErrorKind::bad_file, header.file() + ", key tokenizer.ggml.token_type",
                  std::to_string(types->count) + " types for " + std::to_string(data.tokens.size()) + " tokens");
    header.for_each_number("tokenizer.ggml.token_type", [&](std::uint64_t i, std::uint64_t type) { data.kinds[i] = kind_of(type); });
  }
  if (sentencepiece)
    read_scores(header, data);
  else
    read_merges(header, *rules, data);
  data.begin_id = id(header, "bos_token_id", data.tokens.size());
  data.end_id = id(header, "eos_token_id", data.tokens.size());
  data.unknown_id = id(header, "unknown_token_id", data.tokens.size());
  data.pad_id = id(header, "padding_token_id", data.tokens.size());
  if (const auto turn = id(header, "eot_token_id", data.tokens.size())) data.end_of_turn_ids.push_back(*turn);
  // Unless told otherwise llama.cpp adds a begin token for SentencePiece's kind and for LLaMA 3's family; GPT-2's tokenizers add none.
  const bool begins = sentencepiece || rules->ignore_merges;
  data.add_begin = header.flag("tokenizer.ggml.add_bos_token").value_or(begins) && data.begin_id.has_value();
  data.chat_template = header.text("tokenizer.chat_template").value_or("");
  if (data.chat_template.size() > TokenizerLimits::kTemplateBytes) data.chat_template.clear();
  data.template_name = recognise_chat_template(data.chat_template);
  if (const std::string note = unknown_template_note(data); !note.empty()) notes.push_back(note);
  add_ends_of_turn(data);
  return data;
}

}  // namespace leafcutter::compress
