// The tokenizer section of a .leaf: byte table in docs/format.md.
#include "compress/tokenizer_data.h"

#include <algorithm>

#include "base/error.h"
#include "compress/printable_text.h"
#include "compress/tokenizer_section.h"

namespace leafcutter::compress {
namespace {

constexpr std::uint8_t kSectionVersion = 1;
constexpr std::uint64_t kSectionHeaderBytes = 48;

const KindSection* const kKinds[] = {&kByteLevelSection, &kSentencePieceSection, &kLongestMatchSection};

const KindSection* find_kind(TokenizerKind kind) {
  for (const KindSection* known : kKinds)
    if (known->kind == kind) return known;
  return nullptr;
}

const KindSection& section_of(TokenizerKind kind, const std::string& where) {
  const KindSection* known = find_kind(kind);
  if (!known)
    throw Error(ErrorKind::unsupported, where, "kind " + std::to_string(static_cast<unsigned>(kind)) + " is not known to this program");
  return *known;
}

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

std::optional<std::uint32_t> optional_id(std::uint32_t id) { return id == kNoTokenId ? std::nullopt : std::optional(id); }

void check_token(const SectionChecker& checker, std::size_t i) {
  if (checker.data.tokens[i].size() > TokenizerLimits::kTokenBytes)
    checker.limit("token " + std::to_string(i) + ", length", checker.data.tokens[i].size(), TokenizerLimits::kTokenBytes);
  if (checker.data.kinds[i] > TokenKind::unknown)
    checker.refuse("token " + std::to_string(i) + ", kind",
                   std::to_string(static_cast<unsigned>(checker.data.kinds[i])) + " is not known to this program");
}

// A token's byte: its kind, and above it the bits of its TokenMatch.
enum MatchBit : std::uint8_t { kKindBits = 0x0f, kLeftStrip = 0x10, kRightStrip = 0x20, kSingleWord = 0x40, kNormalized = 0x80 };

std::uint8_t bits_of(const TokenMatch& m) {
  return static_cast<std::uint8_t>((m.left_strip ? kLeftStrip : 0) | (m.right_strip ? kRightStrip : 0) | (m.single_word ? kSingleWord : 0) |
                                   (m.normalized ? kNormalized : 0));
}

TokenMatch match_of(std::uint32_t id, std::uint8_t byte) {
  return {id, (byte & kLeftStrip) != 0, (byte & kRightStrip) != 0, (byte & kSingleWord) != 0, (byte & kNormalized) != 0};
}

void check_matches(const SectionChecker& checker) {
  const auto& matches = checker.data.matches;
  for (std::size_t i = 0; i < matches.size(); i++) {
    checker.check_id("matches", matches[i].id);
    if (i > 0 && matches[i].id <= matches[i - 1].id) checker.refuse("matches", "their ids do not ascend");
    const TokenKind kind = checker.data.kinds[matches[i].id];
    if (bits_of(matches[i]) == 0 || (kind != TokenKind::special && kind != TokenKind::user_defined))
      checker.refuse("token " + std::to_string(matches[i].id) + ", kind", "has rules for matching that mean nothing");
  }
}

void check(const SectionChecker& checker, const KindSection& kind) {
  const TokenizerData& data = checker.data;
  checker.limit("tokens, count", data.tokens.size(), TokenizerLimits::kTokens);
  if (data.tokens.empty()) checker.refuse("tokens, count", "is 0");
  if (data.kinds.size() != data.tokens.size()) checker.refuse("kinds, count", "differs from that of the tokens");
  checker.limit("end_of_turn_ids, count", data.end_of_turn_ids.size(), TokenizerLimits::kEndOfTurnIds);
  checker.limit("chat_template, length", data.chat_template.size(), TokenizerLimits::kTemplateBytes);
  checker.limit("template_name, length", data.template_name.size(), TokenizerLimits::kTemplateNameBytes);
  for (std::size_t i = 0; i < data.tokens.size(); i++) check_token(checker, i);
  check_matches(checker);
  kind.check(checker);
  if (!is_utf8(data.chat_template)) checker.refuse("chat_template", "is no UTF-8");
  if (!is_printable_text(data.template_name)) checker.refuse("template_name", "is no printable UTF-8");
  for (const auto& [name, id] :
       {std::pair{"begin_id", data.begin_id}, {"end_id", data.end_id}, {"unknown_id", data.unknown_id}, {"pad_id", data.pad_id}})
    if (id) checker.check_id(name, *id);
  for (std::uint32_t id : data.end_of_turn_ids) checker.check_id("end_of_turn_ids", id);
}

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
    const auto byte = static_cast<std::uint8_t>(kinds[i]);
    data.kinds.push_back(static_cast<TokenKind>(byte & kKindBits));
    if ((byte & ~kKindBits) != 0) data.matches.push_back(match_of(i, byte));
  }
  if (!text.empty()) in.refuse("token bytes", std::to_string(text.size()) + " belong to no token");
}

}  // namespace

void SectionChecker::refuse(const std::string& field, const std::string& problem) const {
  throw Error(kind_, where_ + ", " + field, problem);
}

void SectionChecker::limit(const std::string& field, std::size_t found, std::size_t most) const {
  if (found > most) refuse(field, "is " + std::to_string(found) + ", allowed " + std::to_string(most));
}

void SectionChecker::check_id(const std::string& field, std::uint32_t id) const {
  if (id >= data.tokens.size()) refuse(field, "is " + std::to_string(id) + ", there are " + std::to_string(data.tokens.size()) + " tokens");
}

void SectionReader::refuse(const std::string& field, const std::string& problem) const {
  throw Error(ErrorKind::bad_file, where_ + ", " + field + ", offset " + std::to_string(at_), problem);
}

std::span<const std::byte> SectionReader::take(const char* field, std::uint64_t count, std::uint64_t bytes_each) {
  const std::uint64_t bytes = count * bytes_each, left = section_.size() - at_;
  if (bytes > left) refuse(field, "needs " + std::to_string(bytes) + " bytes, " + std::to_string(left) + " are left");
  const auto part = section_.subspan(at_, bytes);
  at_ += bytes;
  return part;
}

std::string SectionReader::text(const char* field, std::uint64_t bytes) {
  const auto part = take(field, bytes, 1);
  return {reinterpret_cast<const char*>(part.data()), part.size()};
}

void SectionReader::limit(const char* field, std::uint64_t found, std::uint64_t most) const {
  if (found > most) refuse(field, "is " + std::to_string(found) + ", allowed " + std::to_string(most));
}

void SectionReader::end() const {
  if (at_ != section_.size()) refuse("end", std::to_string(section_.size() - at_) + " bytes belong to nothing");
}

void SectionWriter::text(const std::string& text) {
  const auto bytes = std::as_bytes(std::span(text));
  out_.insert(out_.end(), bytes.begin(), bytes.end());
}

bool is_byte_token(std::string_view spelling) {
  const auto is_digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F'); };
  return spelling.size() == 6 && spelling.starts_with("<0x") && spelling[5] == '>' && is_digit(spelling[3]) && is_digit(spelling[4]);
}

void drop_special_merges(TokenizerData& data) {
  std::erase_if(data.merges, [&](const Merge& merge) { return data.kinds[merge.result] == TokenKind::special; });
}

void add_ends_of_turn(TokenizerData& data) {
  const auto stands_apart = [&](std::size_t id) {
    return data.kinds[id] == TokenKind::special || data.kinds[id] == TokenKind::user_defined;
  };
  std::optional<std::uint32_t> start, end;
  for (std::uint32_t id = 0; id < data.tokens.size(); id++) {
    if (data.tokens[id] == "<start_of_turn>" && stands_apart(id)) start = id;
    if (data.tokens[id] == "<end_of_turn>" && stands_apart(id)) end = id;
  }
  if (start && end && std::find(data.end_of_turn_ids.begin(), data.end_of_turn_ids.end(), *end) == data.end_of_turn_ids.end())
    data.end_of_turn_ids.push_back(*end);
}

std::vector<std::byte> to_section(const TokenizerData& data) {
  const std::string where = "tokenizer";
  const KindSection& kind = section_of(data.kind, where);
  check(SectionChecker(data, where, ErrorKind::unsupported), kind);
  std::uint64_t token_bytes = 0;
  for (const std::string& token : data.tokens) token_bytes += token.size();
  if (token_bytes > TokenizerLimits::kSectionBytes)
    throw Error(ErrorKind::unsupported, where, "its tokens have " + std::to_string(token_bytes) + " bytes together");
  SectionHeader h;
  h.version = kSectionVersion;
  h.kind = static_cast<std::uint8_t>(data.kind);
  h.flags = data.add_begin ? kAddBeginFlag : 0;
  h.begin_id = data.begin_id.value_or(kNoTokenId);
  h.end_id = data.end_id.value_or(kNoTokenId);
  h.unknown_id = data.unknown_id.value_or(kNoTokenId);
  h.pad_id = data.pad_id.value_or(kNoTokenId);
  h.tokens = static_cast<std::uint32_t>(data.tokens.size());
  h.end_of_turn_ids = static_cast<std::uint32_t>(data.end_of_turn_ids.size());
  h.token_bytes = static_cast<std::uint32_t>(token_bytes);
  h.template_bytes = static_cast<std::uint32_t>(data.chat_template.size());
  h.template_name_bytes = static_cast<std::uint32_t>(data.template_name.size());
  kind.fill(data, h);

  std::vector<std::byte> out;
  SectionWriter fields(out);
  transfer(fields, h);
  for (TokenKind token_kind : data.kinds) fields.number(token_kind);
  for (const TokenMatch& match : data.matches) out[kSectionHeaderBytes + match.id] |= static_cast<std::byte>(bits_of(match));
  for (const std::string& token : data.tokens) fields.number(static_cast<std::uint16_t>(token.size()));
  for (const std::string& token : data.tokens) fields.text(token);
  kind.write(data, fields);
  for (std::uint32_t id : data.end_of_turn_ids) fields.number(id);
  fields.text(data.chat_template);
  fields.text(data.template_name);
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
  const KindSection& kind = section_of(static_cast<TokenizerKind>(h.kind), where);
  if (!fields.reserved_are_zero() || (h.flags & ~(kAddBeginFlag | kind.flags)) != 0) in.refuse("flags", "have bits that mean nothing");
  // Limits of counts and the bytes that are left bound what is allocated; everything else is checked at the end, by the same code as before writing.
  TokenizerData data;
  data.kind = kind.kind;
  data.add_begin = (h.flags & kAddBeginFlag) != 0;
  data.begin_id = optional_id(h.begin_id);
  data.end_id = optional_id(h.end_id);
  data.unknown_id = optional_id(h.unknown_id);
  data.pad_id = optional_id(h.pad_id);
  in.limit("tokens, count", h.tokens, TokenizerLimits::kTokens);
  in.limit("merges, count", h.merges, TokenizerLimits::kMerges);
  in.limit("splits, count", h.splits, TokenizerLimits::kSplits);
  read_tokens(in, h, data);
  kind.read(in, h, data);
  FieldReader ids(in.take("end_of_turn_ids", h.end_of_turn_ids, 4));
  data.end_of_turn_ids.resize(h.end_of_turn_ids);
  for (std::uint32_t& id : data.end_of_turn_ids) ids.number(id);
  data.chat_template = in.text("chat_template", h.template_bytes);
  data.template_name = in.text("template_name", h.template_name_bytes);
  in.end();
  check(SectionChecker(data, where, ErrorKind::bad_file), kind);
  return data;
}

}  // namespace leafcutter::compress
