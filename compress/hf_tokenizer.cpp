#include "compress/hf_tokenizer.h"

#include <algorithm>

#include "base/error.h"
#include "compress/chat_templates.h"
#include "compress/json_document.h"
#include "compress/printable_text.h"
#include "compress/split_pattern.h"
#include "compress/split_rules.h"

namespace leafcutter::compress {
namespace {

using nlohmann::json;

std::string type_of(const json& part) {
  return part.is_object() && part.contains("type") && part["type"].is_string() ? part["type"].get<std::string>() : "";
}

const json& member(const json& object, const char* field) {
  static const json none;
  return object.is_object() && object.contains(field) ? object[field] : none;
}

// Calls use for the part itself, or in order for each part of a Sequence, of Sequences within it too.
template <class Use>
void for_each_part(const json& part, const char* list, const std::string& file, Use&& use) {
  if (part.is_null()) return;
  if (type_of(part) != "Sequence") return use(part);
  if (!member(part, list).is_array()) throw Error(ErrorKind::bad_file, file + ", field " + list, "a sequence without parts");
  for (const json& inner : part[list]) for_each_part(inner, list, file, use);
}

// The text of {"String": ..}; none for other patterns.
std::optional<std::string> string_pattern(const json& part) {
  const json& text = member(member(part, "pattern"), "String");
  return text.is_string() ? std::optional(text.get<std::string>()) : std::nullopt;
}

std::string quoted(const std::string& text) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || static_cast<unsigned char>(c) >= 0x80;
    if (!plain && static_cast<unsigned char>(c) > ' ') out += '\\';
    out += c;
  }
  return out;
}

// Punctuation and ASCII's symbols as the tokenizers library knows them, from Unicode 8: without what has become punctuation since, with the two that have ceased to be.
constexpr const char* kPunctuation =
    R"((?![\x{61d}\x{9fd}\x{a76}\x{c77}\x{c84}\x{1b7d}\x{1b7e}\x{2e43}-\x{2e4f}\x{2e52}-\x{2e5d}\x{10ead}\x{10f55}-\x{10f59})"
    R"(\x{10f86}-\x{10f89}\x{1144b}-\x{1144f}\x{1145a}\x{1145b}\x{1145d}\x{11660}-\x{1166c}\x{116b9}\x{1183b}\x{11944}-\x{11946})"
    R"(\x{119e2}\x{11a3f}-\x{11a46}\x{11a9a}-\x{11a9c}\x{11a9e}-\x{11aa2}\x{11c41}-\x{11c45}\x{11c70}\x{11c71}\x{11ef7}\x{11ef8})"
    R"(\x{11fff}\x{12ff1}\x{12ff2}\x{16e97}-\x{16e9a}\x{16fe2}\x{1e95e}\x{1e95f}]))"
    R"([\p{P}!-/:-@\[-`{-~\x{166d}\x{111c9}])";

// Reads the parts of tokenizer.json that say how text is treated. What is not served is remembered by name.
class Pipeline {
 public:
  Pipeline(TokenizerData& data, const std::string& file) : data_(data), file_(file) {}

  bool byte_level = false;
  std::string not_served;  // empty: all is

  void normalizer(const json& root) {
    for_each_part(root, "normalizers", file_, [&](const json& part) {
      const std::string type = type_of(part);
      if (type == "Prepend") return replacement("", json_text(part, "prepend", "", file_), "normalizer");
      const auto from = string_pattern(part);
      if (type == "Replace" && from && !from->empty()) return replacement(*from, json_text(part, "content", "", file_), "normalizer");
      refuse("normalizer", type);
    });
  }

  void pre_tokenizer(const json& root) {
    for_each_part(root, "pretokenizers", file_, [&](const json& part) {
      const std::string type = type_of(part);
      if (byte_level) return refuse("pre-tokenizer", type + " behind ByteLevel");
      if (type == "ByteLevel") return bytes(part);
      if (type == "Digits") return digits(part);
      if (type == "Split") return split(part);
      if (type == "Metaspace") return metaspace(part);
      if (type == "Whitespace") return expression(R"(\w+|[^\w\s]+)", SplitRule::Matches::removed, true);
      if (type == "WhitespaceSplit") return expression(R"(\s+)", SplitRule::Matches::removed, false);
      if (type == "Punctuation") return expression(kPunctuation, matches(json_text(part, "behavior", "Isolated", file_)), false);
      refuse("pre-tokenizer", type);
    });
  }

  void decoder(const json& root, std::vector<std::string>& notes) {
    for_each_part(root, "decoders", file_, [&](const json& part) {
      const std::string type = type_of(part);
      const auto from = string_pattern(part);
      if (type == "Replace" && from && !from->empty())
        data_.decoding.push_back({*from, json_text(part, "content", "", file_)});
      else if (type == "Metaspace")
        data_.decoding.push_back({json_text(part, "replacement", kSpaceSign, file_), " "}),
            data_.strip_first_token = scheme(part) != SplitRule::Scheme::never;
      else if (type == "Strip" && json_text(part, "content", " ", file_) == " ")
        data_.strip_spaces = static_cast<std::uint8_t>(std::min<std::uint64_t>(json_number(part, "start", 0, file_), 255));
      else if (type != "ByteFallback" && type != "Fuse" && type != "ByteLevel")
        notes.push_back("tokenizer.json: decoder " + printable_text(type, 40) + " is not served: tokens are put together without it");
    });
    if (data_.decoding.size() > TokenizerLimits::kReplacements) refuse("decoder", "with so many parts");
    if (!root.is_null()) return;
    for (const Replacement& r : data_.replacements)  // nobody says: what became of spaces becomes spaces again
      if (r.from == " " && !r.to.empty()) data_.decoding.push_back({r.to, " "});
  }

 private:
  static constexpr const char* kSpaceSign = "\u2581";

  void refuse(const std::string& what) {
    if (not_served.empty()) not_served = what;
  }
  void refuse(const std::string& part, const std::string& what) { refuse(part + " " + printable_text(what, 40)); }

  void replacement(const std::string& from, const std::string& to, const char* part) {
    if (from.size() > TokenizerLimits::kReplacementBytes || to.size() > TokenizerLimits::kReplacementBytes ||
        data_.replacements.size() == TokenizerLimits::kReplacements)
      return refuse(part, "with so long a text or so many parts");
    if (!from.empty() || !to.empty()) data_.replacements.push_back({from, to});
  }

  SplitRule::Matches matches(const std::string& behavior) {
    constexpr std::pair<const char*, SplitRule::Matches> kBehaviors[] = {{"Isolated", SplitRule::Matches::isolated},
                                                                         {"Removed", SplitRule::Matches::removed},
                                                                         {"MergedWithPrevious", SplitRule::Matches::merged_with_previous},
                                                                         {"MergedWithNext", SplitRule::Matches::merged_with_next},
                                                                         {"Contiguous", SplitRule::Matches::contiguous}};
    for (const auto& [name, value] : kBehaviors)
      if (behavior == name) return value;
    refuse("pre-tokenizer with behavior", behavior);
    return SplitRule::Matches::isolated;
  }

  void expression(const std::string& oniguruma, SplitRule::Matches with, bool invert) {
    const auto text = split_expression(oniguruma);
    if (!text || text->empty() || text->size() > TokenizerLimits::kExpressionBytes)
      return refuse("pre-tokenizer with expression", oniguruma);
    SplitRule rule;
    rule.expression = *text;
    rule.matches = with;
    rule.invert = invert;
    if (const SplitPattern pattern = compile_split(rule); !pattern.code) return refuse("pre-tokenizer with " + pattern.problem);
    data_.splits.push_back(std::move(rule));
  }

  void bytes(const json& part) {
    byte_level = true;
    data_.add_prefix_space = data_.add_prefix_space || json_flag(part, "add_prefix_space", true, file_);
    if (json_flag(part, "use_regex", true, file_)) data_.splits.push_back({SplitRule::Kind::expression, gpt2_expression()});
  }

  void digits(const json& part) {
    if (json_flag(part, "individual_digits", false, file_))
      data_.splits.push_back({SplitRule::Kind::digits, ""});
    else
      expression(R"(\p{N}+)", SplitRule::Matches::isolated, false);
  }

  void split(const json& part) {
    const SplitRule::Matches with = matches(json_text(part, "behavior", "", file_));
    const bool invert = json_flag(part, "invert", false, file_);
    if (const auto text = string_pattern(part)) return expression(quoted(*text), with, invert);
    const json& regex = member(member(part, "pattern"), "Regex");
    if (!regex.is_string()) return refuse("pre-tokenizer", "Split without a pattern");
    expression(regex.get<std::string>(), with, invert);
  }

  // Old files say add_prefix_space, newer ones prepend_scheme.
  SplitRule::Scheme scheme(const json& part) {
    const std::string name =
        json_text(part, "prepend_scheme", json_flag(part, "add_prefix_space", true, file_) ? "always" : "never", file_);
    if (name == "first") return SplitRule::Scheme::first;
    if (name != "always" && name != "never") refuse("prepend_scheme", name);
    return name == "always" ? SplitRule::Scheme::always : SplitRule::Scheme::never;
  }

  void metaspace(const json& part) {
    SplitRule rule;
    rule.kind = SplitRule::Kind::metaspace;
    rule.expression = json_text(part, "replacement", kSpaceSign, file_);
    rule.scheme = scheme(part);
    rule.cut = json_flag(part, "split", true, file_);
    if (rule.expression.empty() || rule.expression.size() > TokenizerLimits::kReplacementBytes)
      return refuse("pre-tokenizer", "Metaspace with replacement " + rule.expression);
    data_.splits.push_back(std::move(rule));
  }

  TokenizerData& data_;
  const std::string& file_;
};

// A named token of tokenizer_config.json: a text or {"content": text}.
std::optional<std::string> named(const json& config, const char* field) {
  if (!config.is_object() || !config.contains(field)) return std::nullopt;
  const json& value = config[field];
  if (value.is_string()) return value.get<std::string>();
  if (value.is_object() && value.contains("content") && value["content"].is_string()) return value["content"].get<std::string>();
  return std::nullopt;
}

// Does the post-processor put the begin token in front of a single text?
bool adds_begin(const json& post, const std::optional<std::string>& begin) {
  if (!begin) return false;
  if (type_of(post) == "Sequence" && post.contains("processors") && post["processors"].is_array()) {
    for (const json& part : post["processors"])
      if (adds_begin(part, begin)) return true;
    return false;
  }
  if (type_of(post) != "TemplateProcessing" || !post.contains("single") || !post["single"].is_array() || post["single"].empty())
    return false;
  const json& first = post["single"][0];
  return first.is_object() && first.contains("SpecialToken") && first["SpecialToken"].is_object() &&
         first["SpecialToken"].value("id", json()) == json(*begin);
}

// The template, or of a list of named ones the default.
std::string template_of(const json& config) {
  const json& given = member(config, "chat_template");
  std::string text;
  if (given.is_string()) text = given.get<std::string>();
  if (given.is_array())
    for (const json& one : given)
      if (member(one, "name") == "default" && member(one, "template").is_string()) text = one["template"].get<std::string>();
  return text.size() <= TokenizerLimits::kTemplateBytes ? text : std::string();
}

// Whether the begin token goes in front of a prompt: what the config says outright, what the classes of LLaMA's and Gemma's tokenizers do by themselves, the post-processor.
bool prompt_begins(const json& config, const json& post, const std::optional<std::string>& begin, const std::string& file) {
  if (member(config, "add_bos_token").is_boolean()) return config["add_bos_token"].get<bool>();
  std::string name = json_text(config, "tokenizer_class", "", file);
  if (name.ends_with("Fast")) name.resize(name.size() - 4);
  if (name == "LlamaTokenizer" || name == "CodeLlamaTokenizer" || name == "GemmaTokenizer") return true;
  return adds_begin(post, begin);
}

// What the text's own special and added tokens are, and how they are looked for.
void add_tokens(const json& list, std::size_t most, const std::string& file, TokenizerData& data) {
  if (!list.is_array()) return;
  for (const json& added : list) {
    const std::uint64_t id = json_number(added, "id", most, file);
    if (id >= most) throw Error(ErrorKind::bad_file, file + ", field added_tokens", "an id of " + std::to_string(id));
    std::string text = json_text(added, "content", "", file);
    if (text.size() > TokenizerLimits::kTokenBytes)
      throw Error(ErrorKind::bad_file, file, "token " + std::to_string(id) + " is past the limits");
    if (id >= data.tokens.size()) {
      data.tokens.resize(id + 1);
      data.kinds.resize(id + 1, TokenKind::unused);
    }
    const bool special = json_flag(added, "special", false, file);
    data.tokens[id] = std::move(text);
    data.kinds[id] = special ? TokenKind::special : TokenKind::user_defined;
    const TokenMatch match{static_cast<std::uint32_t>(id), json_flag(added, "lstrip", false, file), json_flag(added, "rstrip", false, file),
                           json_flag(added, "single_word", false, file), json_flag(added, "normalized", false, file)};
    std::erase_if(data.matches, [&](const TokenMatch& other) { return other.id == id; });
    if (match != TokenMatch{.id = match.id}) data.matches.push_back(match);
  }
  std::sort(data.matches.begin(), data.matches.end(), [](const TokenMatch& a, const TokenMatch& b) { return a.id < b.id; });
}

}  // namespace

std::optional<TokenizerData> tokenizer_from_json(const TextSource& text, const json& config, const std::string& file,
                                                 std::vector<std::string>& notes) {
  TokenizerJson parsed = read_tokenizer_json(text, file);
  const json& root = parsed.rest;
  const json& model = member(root, "model");
  if (!model.is_object()) throw Error(ErrorKind::bad_file, file, "has no model");
  const auto not_served = [&](const std::string& what) {
    notes.push_back("tokenizer.json: " + what + " is not served yet: the model runs on ids");
    return std::nullopt;
  };
  const std::string type = type_of(model);
  if (!type.empty() && type != "BPE") return not_served("model type " + printable_text(type, 40));
  for (const char* field : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (!json_text(model, field, "", file).empty()) return not_served(std::string("a BPE with ") + field);

  TokenizerData data;
  Pipeline pipeline(data, file);
  pipeline.normalizer(member(root, "normalizer"));
  pipeline.pre_tokenizer(member(root, "pre_tokenizer"));
  if (pipeline.byte_level && !data.replacements.empty()) return not_served("a normalizer beside ByteLevel");
  if (!pipeline.not_served.empty()) return not_served(pipeline.not_served);
  data.ignore_merges = json_flag(model, "ignore_merges", false, file);
  data.tokens = std::move(parsed.tokens);
  data.kinds = std::move(parsed.kinds);
  data.merges = std::move(parsed.merges);
  const std::size_t most = std::min(2 * data.tokens.size() + 65536, TokenizerLimits::kTokens);
  const auto id_of = [&](const std::optional<std::string>& token) -> std::optional<std::uint32_t> {
    if (!token) return std::nullopt;
    const auto found = std::find(data.tokens.begin(), data.tokens.end(), *token);
    return found == data.tokens.end() ? std::nullopt : std::optional(static_cast<std::uint32_t>(found - data.tokens.begin()));
  };
  if (pipeline.byte_level) {
    data.unknown_id = id_of(named(config, "unk_token"));
  } else {
    data.kind = TokenizerKind::sentencepiece_bpe;
    pipeline.decoder(member(root, "decoder"), notes);
    if (!pipeline.not_served.empty()) return not_served(pipeline.not_served);
    data.add_prefix_space = false;
    data.byte_fallback = json_flag(model, "byte_fallback", false, file);
    data.fuse_unknown = json_flag(model, "fuse_unk", false, file);
    data.unknown_id = id_of(named(model, "unk_token"));
    for (std::size_t id = 0; id < data.tokens.size(); id++)
      if (data.byte_fallback && is_byte_token(data.tokens[id])) data.kinds[id] = TokenKind::byte;
  }
  add_tokens(member(root, "added_tokens"), most, file, data);
  if (data.tokens.empty()) throw Error(ErrorKind::bad_file, file, "has no tokens");
  drop_special_merges(data);
  const auto begin = named(config, "bos_token");
  data.begin_id = id_of(begin);
  data.end_id = id_of(named(config, "eos_token"));
  data.pad_id = id_of(named(config, "pad_token"));
  data.add_begin = data.begin_id && prompt_begins(config, member(root, "post_processor"), begin, file);
  data.chat_template = template_of(config);
  data.template_name = recognise_chat_template(data.chat_template);
  if (const std::string note = unknown_template_note(data); !note.empty()) notes.push_back(note);
  add_ends_of_turn(data);
  return data;
}

std::optional<TokenizerData> tokenizer_from_json(std::string_view text, const json& config, const std::string& file,
                                                 std::vector<std::string>& notes) {
  const TextSource source = [text](std::uint64_t offset, std::span<char> to) {
    return offset < text.size() ? text.copy(to.data(), to.size(), offset) : 0;
  };
  return tokenizer_from_json(source, config, file, notes);
}

}  // namespace leafcutter::compress
