// The tokenizer section of a .leaf: byte table in docs/format.md.
#include "compress/tokenizer_data.h"

#include <tuple>

#include "base/error.h"
#include "compress/leaf_fields.h"
#include "compress/printable_text.h"

namespace leafcutter::compress {
namespace {

constexpr std::uint8_t kSectionVersion = 1;
constexpr std::uint32_t kNoId = 0xffffffff;
enum Flag : std::uint8_t { kAddBegin = 1, kAddPrefixSpace = 2, kIgnoreMerges = 4, kAllFlags = 7 };

struct SectionHeader {
  std::uint8_t version = kSectionVersion, kind = 0, flags = 0;
  std::uint32_t begin_id = kNoId, end_id = kNoId, unknown_id = kNoId, pad_id = kNoId;
  std::uint32_t tokens = 0, merges = 0, splits = 0, end_of_turn_ids = 0;
  std::uint32_t token_bytes = 0, template_bytes = 0, template_name_bytes = 0;
};
constexpr std::uint64_t kSectionHeaderBytes = 48, kMergeBytes = 12, kSplitHeaderBytes = 8;

template <class Fields>
void transfer(Fields& fields, SectionHeader& h) {
  fields.number(h.version);
  fields.number(h.kind);
  fields.number(h.flags);
  fields.zeros(1);
  fields.number(h.begin_id);
  fields.number(h.end_id);
  fields.number(h.unknown_id);
  fields.number(h.pad_id);
  fields.number(h.tokens);
  fields.number(h.merges);
  fields.number(h.splits);
  fields.number(h.end_of_turn_ids);
  fields.number(h.token_bytes);
  fields.number(h.template_bytes);
  fields.number(h.template_name_bytes);
}

std::optional<std::uint32_t> optional_id(std::uint32_t id) { return id == kNoId ? std::nullopt : std::optional(id); }

// What must hold in a section and before one is written.
class DataChecker {
 public:
  DataChecker(const TokenizerData& data, std::string where, ErrorKind kind) : data_(data), where_(std::move(where)), kind_(kind) {}

  void check() const {
    if (data_.kind != TokenizerKind::byte_level_bpe)
      throw Error(ErrorKind::unsupported, where_,
                  "kind " + std::to_string(static_cast<unsigned>(data_.kind)) + " is not known to this program");
    limit("tokens, count", data_.tokens.size(), TokenizerLimits::kTokens);
    if (data_.tokens.empty()) refuse("tokens, count", "is 0");
    if (data_.kinds.size() != data_.tokens.size()) refuse("kinds, count", "differs from that of the tokens");
    limit("merges, count", data_.merges.size(), TokenizerLimits::kMerges);
    limit("splits, count", data_.splits.size(), TokenizerLimits::kSplits);
    limit("end_of_turn_ids, count", data_.end_of_turn_ids.size(), TokenizerLimits::kEndOfTurnIds);
    limit("chat_template, length", data_.chat_template.size(), TokenizerLimits::kTemplateBytes);
    limit("template_name, length", data_.template_name.size(), TokenizerLimits::kTemplateNameBytes);
    for (std::size_t i = 0; i < data_.tokens.size(); i++) check_token(i);
    for (std::size_t i = 0; i < data_.merges.size(); i++) check_merge(i);
    for (std::size_t i = 0; i < data_.splits.size(); i++) check_split(i);
    if (!is_utf8(data_.chat_template)) refuse("chat_template", "is no UTF-8");
    if (!is_printable_text(data_.template_name)) refuse("template_name", "is no printable UTF-8");
    for (const auto& [name, id] :
         {std::pair{"begin_id", data_.begin_id}, {"end_id", data_.end_id}, {"unknown_id", data_.unknown_id}, {"pad_id", data_.pad_id}})
      if (id) check_id(name, *id);
    for (std::uint32_t id : data_.end_of_turn_ids) check_id("end_of_turn_ids", id);
  }

 private:
  [[noreturn]] void refuse(const std::string& field, const std::string& problem) const {
    throw Error(kind_, where_ + ", " + field, problem);
  }

  void limit(const std::string& field, std::size_t found, std::size_t most) const {
    if (found > most) refuse(field, "is " + std::to_string(found) + ", allowed " + std::to_string(most));
  }

  void check_id(const std::string& field, std::uint32_t id) const {
    if (id >= data_.tokens.size())
      refuse(field, "is " + std::to_string(id) + ", there are " + std::to_string(data_.tokens.size()) + " tokens");
  }

  void check_token(std::size_t i) const {
    if (data_.tokens[i].size() > TokenizerLimits::kTokenBytes)
      limit("token " + std::to_string(i) + ", length", data_.tokens[i].size(), TokenizerLimits::kTokenBytes);
    if (data_.kinds[i] > TokenKind::unknown)
      refuse("token " + std::to_string(i) + ", kind",
             std::to_string(static_cast<unsigned>(data_.kinds[i])) + " is not known to this program");
  }

  void check_merge(std::size_t i) const {
    const Merge& m = data_.merges[i];
    const std::size_t tokens = data_.tokens.size();
    if (m.left >= tokens || m.right >= tokens || m.result >= tokens)
      for (std::uint32_t id : {m.left, m.right, m.result}) check_id("merge " + std::to_string(i), id);
  }

  void check_split(std::size_t i) const {
    const SplitRule& rule = data_.splits[i];
    const std::string field = "split " + std::to_string(i);
    if (rule.kind > SplitRule::Kind::digits)
      refuse(field + ", kind", std::to_string(static_cast<unsigned>(rule.kind)) + " is not known to this program");
    limit(field + ", length", rule.expression.size(), TokenizerLimits::kExpressionBytes);
    if (rule.kind == SplitRule::Kind::expression && rule.expression.empty()) refuse(field, "is an empty expression");
    if (rule.kind == SplitRule::Kind::digits && !rule.expression.empty()) refuse(field, "is of kind digits and has an expression");
    if (!is_utf8(rule.expression)) refuse(field, "is no UTF-8");
  }

  const TokenizerData& data_;
  std::string where_;
  ErrorKind kind_;
};

// Hands out parts of the section and says where it ended early.
class SectionReader {
 public:
  SectionReader(std::span<const std::byte> section, std::string where) : section_(section), where_(std::move(where)) {}

  [[noreturn]] void refuse(const std::string& field, const std::string& problem) const {
    throw Error(ErrorKind::bad_file, where_ + ", " + field + ", offset " + std::to_string(at_), problem);
  }

  // count <= 2^32, bytes_each small: the product is exact.
  std::span<const std::byte> take(const char* field, std::uint64_t count, std::uint64_t bytes_each) {
    const std::uint64_t bytes = count * bytes_each, left = section_.size() - at_;
    if (bytes > left) refuse(field, "needs " + std::to_string(bytes) + " bytes, " + std::to_string(left) + " are left");
    const auto part = section_.subspan(at_, bytes);
    at_ += bytes;
    return part;
  }

  std::string text(const char* field, std::uint64_t bytes) {
    const auto part = take(field, bytes, 1);
    return {reinterpret_cast<const char*>(part.data()), part.size()};
  }

  void end() const {
    if (at_ != section_.size()) refuse("end", std::to_string(section_.size() - at_) + " bytes belong to nothing");
  }

 private:
  std::span<const std::byte> section_;
  std::string where_;
  std::size_t at_ = 0;
};

void read_tokens(SectionReader& in, const SectionHeader& h, TokenizerData& data) {
  const auto kinds = in.take("kinds", h.tokens, 1);
  FieldReader lengths(in.take("token lengths", h.tokens, 2));
  std::string_view text(reinterpret_cast<const char*>(in.take("token bytes", h.token_bytes, 1).data()), h.token_bytes);
  data.tokens.reserve(h.tokens);
  data.kinds.reserve(h.tokens);
  for (std::uint32_t i = 0; i < h.tokens; i++) {
    std::uint16_t length = 0;
    lengths.number(length);
    if (length > text.size()) in.refuse("token " + std::to_string(i), "is longer than what is left of the tokens' bytes");
    data.tokens.emplace_back(text.substr(0, length));
    text.remove_prefix(length);
    data.kinds.push_back(static_cast<TokenKind>(kinds[i]));
  }
  if (!text.empty()) in.refuse("token bytes", std::to_string(text.size()) + " belong to no token");
}

void read_splits(SectionReader& in, const SectionHeader& h, TokenizerData& data) {
  for (std::uint32_t i = 0; i < h.splits; i++) {
    FieldReader fields(in.take("split", 1, kSplitHeaderBytes));
    SplitRule rule;
    std::uint32_t length = 0;
    fields.number(rule.kind);
    fields.zeros(3);
    fields.number(length);
    if (!fields.reserved_are_zero()) in.refuse("split " + std::to_string(i), "reserved bytes are not zero");
    rule.expression = in.text("split", length);
    data.splits.push_back(std::move(rule));
  }
}

}  // namespace

std::vector<std::byte> to_section(const TokenizerData& data) {
  const std::string where = "tokenizer";
  DataChecker(data, where, ErrorKind::unsupported).check();
  std::uint64_t token_bytes = 0;
  for (const std::string& token : data.tokens) token_bytes += token.size();
  if (token_bytes > TokenizerLimits::kSectionBytes)
    throw Error(ErrorKind::unsupported, where, "its tokens have " + std::to_string(token_bytes) + " bytes together");
  SectionHeader h;
  h.kind = static_cast<std::uint8_t>(data.kind);
  h.flags = static_cast<std::uint8_t>((data.add_begin ? kAddBegin : 0) | (data.add_prefix_space ? kAddPrefixSpace : 0) |
                                      (data.ignore_merges ? kIgnoreMerges : 0));
  h.begin_id = data.begin_id.value_or(kNoId);
  h.end_id = data.end_id.value_or(kNoId);
  h.unknown_id = data.unknown_id.value_or(kNoId);
  h.pad_id = data.pad_id.value_or(kNoId);
  h.tokens = static_cast<std::uint32_t>(data.tokens.size());
  h.merges = static_cast<std::uint32_t>(data.merges.size());
  h.splits = static_cast<std::uint32_t>(data.splits.size());
  h.end_of_turn_ids = static_cast<std::uint32_t>(data.end_of_turn_ids.size());
  h.token_bytes = static_cast<std::uint32_t>(token_bytes);
  h.template_bytes = static_cast<std::uint32_t>(data.chat_template.size());
  h.template_name_bytes = static_cast<std::uint32_t>(data.template_name.size());

  std::vector<std::byte> out;
  FieldWriter fields(out);
  const auto text = [&](const std::string& s) {
    const auto bytes = std::as_bytes(std::span(s));
    out.insert(out.end(), bytes.begin(), bytes.end());
  };
  transfer(fields, h);
  for (TokenKind kind : data.kinds) fields.number(kind);
  for (const std::string& token : data.tokens) fields.number(static_cast<std::uint16_t>(token.size()));
  for (const std::string& token : data.tokens) text(token);
  for (const Merge& m : data.merges) fields.number(m.left), fields.number(m.right), fields.number(m.result);
  for (const SplitRule& rule : data.splits) {
    fields.number(rule.kind);
    fields.zeros(3);
    fields.number(static_cast<std::uint32_t>(rule.expression.size()));
    text(rule.expression);
  }
  for (std::uint32_t id : data.end_of_turn_ids) fields.number(id);
  text(data.chat_template);
  text(data.template_name);
  if (out.size() > TokenizerLimits::kSectionBytes)
    throw Error(ErrorKind::unsupported, where,
                "needs " + std::to_string(out.size()) + " bytes, allowed " + std::to_string(TokenizerLimits::kSectionBytes));
  return out;
}

TokenizerData tokenizer_from_section(std::span<const std::byte> section, const std::string& file) {
  const std::string where = file + ", tokenizer";
  SectionReader in(section, where);
  if (section.size() > TokenizerLimits::kSectionBytes)
    in.refuse("section", "has " + std::to_string(section.size()) + " bytes, allowed " + std::to_string(TokenizerLimits::kSectionBytes));
  SectionHeader h;
  FieldReader fields(in.take("header", 1, kSectionHeaderBytes));
  transfer(fields, h);
  if (h.version != kSectionVersion)
    throw Error(ErrorKind::unsupported, where + ", version",
                "is " + std::to_string(h.version) + ", this program reads " + std::to_string(kSectionVersion));
  if (!fields.reserved_are_zero() || (h.flags & ~kAllFlags) != 0) in.refuse("flags", "have bits that mean nothing");
  // Limits of counts and the bytes that are left bound what is allocated; everything else is checked at the end, by the same code as before writing.
  TokenizerData data;
  data.kind = static_cast<TokenizerKind>(h.kind);
  data.add_begin = (h.flags & kAddBegin) != 0;
  data.add_prefix_space = (h.flags & kAddPrefixSpace) != 0;
  data.ignore_merges = (h.flags & kIgnoreMerges) != 0;
  data.begin_id = optional_id(h.begin_id);
  data.end_id = optional_id(h.end_id);
  data.unknown_id = optional_id(h.unknown_id);
  data.pad_id = optional_id(h.pad_id);
  for (const auto& [field, count, most] : {std::tuple{"tokens, count", h.tokens, TokenizerLimits::kTokens},
                                           {"merges, count", h.merges, TokenizerLimits::kMerges},
                                           {"splits, count", h.splits, TokenizerLimits::kSplits}})
    if (count > most) in.refuse(field, "is " + std::to_string(count) + ", allowed " + std::to_string(most));
  read_tokens(in, h, data);
  FieldReader merges(in.take("merges", h.merges, kMergeBytes));
  data.merges.resize(h.merges);
  for (Merge& m : data.merges) merges.number(m.left), merges.number(m.right), merges.number(m.result);
  read_splits(in, h, data);
  FieldReader ids(in.take("end_of_turn_ids", h.end_of_turn_ids, 4));
  data.end_of_turn_ids.resize(h.end_of_turn_ids);
  for (std::uint32_t& id : data.end_of_turn_ids) ids.number(id);
  data.chat_template = in.text("chat_template", h.template_bytes);
  data.template_name = in.text("template_name", h.template_name_bytes);
  in.end();
  DataChecker(data, where, ErrorKind::bad_file).check();
  return data;
}

}  // namespace leafcutter::compress
