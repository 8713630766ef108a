#include "compress/hf_tokenizer.h"

#include <algorithm>

#include "base/error.h"
#include "compress/chat_templates.h"
#include "compress/json_document.h"
#include "compress/merge_builder.h"
#include "compress/printable_text.h"
#include "compress/split_rules.h"

namespace leafcutter::compress {
namespace {

using nlohmann::json;

constexpr int kDepth = 32;
constexpr std::size_t kSmallValues = 200'000;  // values of everything that is not vocabulary or merges: added tokens, pre-tokenizer, ...

// Collects model.vocab and model.merges straight into lists, and everything else into a small document.
class TokenizerJson : public nlohmann::json_sax<json> {
 public:
  explicit TokenizerJson(const std::string& file) : file_(file) {}

  json rest = json::object();  // without vocab and merges
  std::vector<std::pair<std::string, std::uint64_t>> vocab;
  std::vector<std::pair<std::string, std::string>> merges;

  bool null() override { return value(nullptr); }
  bool boolean(bool v) override { return value(v); }
  bool number_integer(number_integer_t v) override { return value(v); }
  bool number_unsigned(number_unsigned_t v) override {
    if (where_ != Where::vocab) return value(v);
    if (vocab.size() == TokenizerLimits::kTokens)
      refuse("model.vocab", "more than " + std::to_string(TokenizerLimits::kTokens) + " tokens");
    vocab.emplace_back(std::move(key_), v);
    return true;
  }
  bool number_float(number_float_t v, const string_t&) override { return value(v); }
  bool binary(binary_t&) override { return false; }

  bool string(string_t& v) override {
    if (where_ == Where::merges || where_ == Where::merge) return merge_part(v);
    return value(std::move(v));
  }

  bool start_object(std::size_t) override {
    deeper();
    if (where_ != Where::rest) refuse(where_name(), "holds an object");
    if (depth_ == 3 && in_model_ && key_ == "vocab") {
      where_ = Where::vocab;
      return true;
    }
    open(json::object());
    if (depth_ == 2 && key_of_top_ == "model") in_model_ = true;
    return true;
  }

  bool end_object() override {
    if (where_ == Where::vocab)
      where_ = Where::rest;
    else
      stack_.pop_back();
    if (depth_ == 2) in_model_ = false;
    depth_--;
    return true;
  }

  bool start_array(std::size_t) override {
    deeper();
    if (where_ == Where::merges) {
      where_ = Where::merge;
      parts_ = 0;
      return true;
    }
    if (where_ != Where::rest) refuse(where_name(), "holds an array");
    if (depth_ == 3 && in_model_ && key_ == "merges") {
      where_ = Where::merges;
      return true;
    }
    open(json::array());
    return true;
  }

  bool end_array() override {
    depth_--;
    if (where_ == Where::merge) {
      if (parts_ != 2) refuse("model.merges", "merge " + std::to_string(merges.size()) + " is no pair");
      where_ = Where::merges;
    } else if (where_ == Where::merges) {
      where_ = Where::rest;
    } else {
      stack_.pop_back();
    }
    return true;
  }

  bool key(string_t& v) override {
    key_ = std::move(v);
    if (key_.size() > TokenizerLimits::kTokenBytes) refuse(where_name(), "a key of " + std::to_string(key_.size()) + " bytes");
    if (depth_ == 1) key_of_top_ = key_;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    throw Error(ErrorKind::bad_file, file_, "is no JSON at byte " + std::to_string(position));
  }

 private:
  enum class Where { rest, vocab, merges, merge };

  [[noreturn]] void refuse(const std::string& field, const std::string& problem) const {
    throw Error(ErrorKind::bad_file, file_ + ", field " + field, problem);
  }
  const char* where_name() const { return where_ == Where::vocab ? "model.vocab" : where_ == Where::rest ? "a part" : "model.merges"; }

  void deeper() {
    if (++depth_ > kDepth) refuse("a part", "nested deeper than " + std::to_string(kDepth));
  }

  void count() {
    if (++small_values_ > kSmallValues) refuse("a part", "more than " + std::to_string(kSmallValues) + " values");
  }

  json* place(json value) {
    count();
    if (stack_.empty()) return &(rest = std::move(value));
    json& parent = *stack_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    return &(parent[key_] = std::move(value));
  }

  void open(json value) { stack_.push_back(place(std::move(value))); }

  bool value(json v) {
    if (where_ != Where::rest) refuse(where_name(), "holds something else than expected");
    place(std::move(v));
    return true;
  }

  bool merge_part(std::string& text) {
    if (merges.size() > TokenizerLimits::kMerges) refuse("model.merges", "more than " + std::to_string(TokenizerLimits::kMerges));
    if (where_ == Where::merges) {  // "a b"
      const std::size_t space = text.find(' ', 1);
      if (space == std::string::npos) refuse("model.merges", "merge " + std::to_string(merges.size()) + " has no space");
      merges.emplace_back(text.substr(0, space), text.substr(space + 1));
    } else if (parts_++ == 0) {
      merges.emplace_back(std::move(text), std::string());
    } else {
      merges.back().second = std::move(text);
    }
    return true;
  }

  const std::string& file_;
  std::vector<json*> stack_;
  std::string key_, key_of_top_;
  Where where_ = Where::rest;
  bool in_model_ = false;
  int depth_ = 0, parts_ = 0;
  std::size_t small_values_ = 0;
};

std::string type_of(const json& part) {
  return part.is_object() && part.contains("type") && part["type"].is_string() ? part["type"].get<std::string>() : "";
}

// False for what is not served.
bool add_splits(const json& pre, const std::string& file, TokenizerData& data) {
  const std::string type = type_of(pre);
  if (type == "Sequence") {
    if (!pre.contains("pretokenizers") || !pre["pretokenizers"].is_array())
      throw Error(ErrorKind::bad_file, file + ", field pre_tokenizer", "a sequence without parts");
    for (const json& part : pre["pretokenizers"])
      if (!add_splits(part, file, data)) return false;
    return true;
  }
  if (type == "ByteLevel") {
    data.add_prefix_space = data.add_prefix_space || json_flag(pre, "add_prefix_space", true, file);
    if (json_flag(pre, "use_regex", true, file)) data.splits.push_back({SplitRule::Kind::expression, gpt2_expression()});
    return true;
  }
  if (type == "Digits") {
    if (!json_flag(pre, "individual_digits", false, file)) return false;
    data.splits.push_back({SplitRule::Kind::digits, ""});
    return true;
  }
  if (type == "Split") {
    if (json_text(pre, "behavior", "", file) != "Isolated" || json_flag(pre, "invert", false, file) || !pre.contains("pattern"))
      return false;
    const json& pattern = pre["pattern"];
    if (!pattern.is_object() || !pattern.contains("Regex") || !pattern["Regex"].is_string()) return false;
    data.splits.push_back({SplitRule::Kind::expression, pattern["Regex"].get<std::string>()});
    return true;
  }
  return false;
}

bool has_byte_level(const json& part) {
  if (type_of(part) == "ByteLevel") return true;
  if (!part.is_object()) return false;
  for (const char* list : {"pretokenizers", "decoders"})
    if (part.contains(list) && part[list].is_array())
      for (const json& inner : part[list])
        if (has_byte_level(inner)) return true;
  return false;
}

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

std::string template_of(const json& config) {
  if (!config.is_object() || !config.contains("chat_template") || !config["chat_template"].is_string()) return {};
  const std::string text = config["chat_template"].get<std::string>();
  return text.size() <= TokenizerLimits::kTemplateBytes ? text : std::string();
}

void put_token(TokenizerData& data, std::uint64_t id, std::string text, TokenKind kind, const std::string& file) {
  if (id >= TokenizerLimits::kTokens || text.size() > TokenizerLimits::kTokenBytes)
    throw Error(ErrorKind::bad_file, file, "token " + std::to_string(id) + " is past the limits");
  if (id >= data.tokens.size()) {
    data.tokens.resize(id + 1);
    data.kinds.resize(id + 1, TokenKind::unused);
  }
  data.tokens[id] = std::move(text);
  data.kinds[id] = kind;
}

}  // namespace

std::optional<TokenizerData> tokenizer_from_json(std::string_view text, const json& config, const std::string& file,
                                                 std::vector<std::string>& notes) {
  TokenizerJson parsed(file);
  json::sax_parse(text.begin(), text.end(), &parsed);
  const json& root = parsed.rest;
  const auto not_served = [&](const std::string& what) {
    notes.push_back("tokenizer.json: " + what + " is not served yet: the model runs on ids");
    return std::nullopt;
  };
  if (!root.is_object() || !root.contains("model") || !root["model"].is_object()) throw Error(ErrorKind::bad_file, file, "has no model");
  const json& model = root["model"];
  const std::string type = type_of(model);
  if (!type.empty() && type != "BPE") return not_served("model type " + printable_text(type, 40));
  const json none;
  const json& pre = root.contains("pre_tokenizer") ? root["pre_tokenizer"] : none;
  if (!has_byte_level(pre)) return not_served("a BPE without ByteLevel");
  if (root.contains("normalizer") && !root["normalizer"].is_null())
    return not_served("normalizer " + printable_text(type_of(root["normalizer"]), 40));

  TokenizerData data;
  data.ignore_merges = json_flag(model, "ignore_merges", false, file);
  if (!add_splits(pre, file, data)) return not_served("pre-tokenizer " + printable_text(type_of(pre), 40));
  // Ids may have holes, but not more of them than there are tokens.
  const std::size_t most = 2 * parsed.vocab.size() + 65536;
  for (auto& [token, id] : parsed.vocab) {
    if (id >= most)
      throw Error(ErrorKind::bad_file, file + ", field model.vocab",
                  "id " + std::to_string(id) + " for " + std::to_string(parsed.vocab.size()) + " tokens");
    put_token(data, id, std::move(token), TokenKind::normal, file);
  }
  if (root.contains("added_tokens") && root["added_tokens"].is_array())
    for (const json& added : root["added_tokens"]) {
      const std::uint64_t id = json_number(added, "id", most, file);
      if (id >= most) throw Error(ErrorKind::bad_file, file + ", field added_tokens", "an id of " + std::to_string(id));
      put_token(data, id, json_text(added, "content", "", file),
                json_flag(added, "special", false, file) ? TokenKind::special : TokenKind::user_defined, file);
    }
  if (data.tokens.empty()) throw Error(ErrorKind::bad_file, file, "has no tokens");
  MergeBuilder merges(data.tokens, file);
  for (const auto& [left, right] : parsed.merges) merges.add(left, right);
  data.merges = merges.take();

  const auto id_of = [&](const std::optional<std::string>& token) -> std::optional<std::uint32_t> {
    if (!token) return std::nullopt;
    const auto found = std::find(data.tokens.begin(), data.tokens.end(), *token);
    return found == data.tokens.end() ? std::nullopt : std::optional(static_cast<std::uint32_t>(found - data.tokens.begin()));
  };
  const auto begin = named(config, "bos_token");
  data.begin_id = id_of(begin);
  data.end_id = id_of(named(config, "eos_token"));
  data.pad_id = id_of(named(config, "pad_token"));
  data.unknown_id = id_of(named(config, "unk_token"));
  const json& post = root.contains("post_processor") ? root["post_processor"] : none;
  data.add_begin = data.begin_id && (adds_begin(post, begin) || json_flag(config, "add_bos_token", false, file));
  data.chat_template = template_of(config);
  data.template_name = recognise_chat_template(data.chat_template);
  return data;
}

}  // namespace leafcutter::compress
