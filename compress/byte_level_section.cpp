// Byte-level BPE in a .leaf: merges and the rules that cut text.
#include "compress/printable_text.h"
#include "compress/tokenizer_section.h"

namespace leafcutter::compress {
namespace {

enum Flag : std::uint8_t { kAddPrefixSpace = 2, kIgnoreMerges = 4 };
constexpr std::uint64_t kMergeBytes = 12, kSplitHeaderBytes = 8;

void check_merge(const SectionChecker& checker, std::size_t i) {
  const Merge& m = checker.data.merges[i];
  const std::size_t tokens = checker.data.tokens.size();
  if (m.left >= tokens || m.right >= tokens || m.result >= tokens)
    for (std::uint32_t id : {m.left, m.right, m.result}) checker.check_id("merge " + std::to_string(i), id);
}

void check_split(const SectionChecker& checker, std::size_t i) {
  const SplitRule& rule = checker.data.splits[i];
  const std::string field = "split " + std::to_string(i);
  if (rule.kind > SplitRule::Kind::digits)
    checker.refuse(field + ", kind", std::to_string(static_cast<unsigned>(rule.kind)) + " is not known to this program");
  checker.limit(field + ", length", rule.expression.size(), TokenizerLimits::kExpressionBytes);
  if (rule.kind == SplitRule::Kind::expression && rule.expression.empty()) checker.refuse(field, "is an empty expression");
  if (rule.kind == SplitRule::Kind::digits && !rule.expression.empty()) checker.refuse(field, "is of kind digits and has an expression");
  if (!is_utf8(rule.expression)) checker.refuse(field, "is no UTF-8");
}

void check(const SectionChecker& checker) {
  checker.limit("merges, count", checker.data.merges.size(), TokenizerLimits::kMerges);
  checker.limit("splits, count", checker.data.splits.size(), TokenizerLimits::kSplits);
  for (std::size_t i = 0; i < checker.data.merges.size(); i++) check_merge(checker, i);
  for (std::size_t i = 0; i < checker.data.splits.size(); i++) check_split(checker, i);
}

void fill(const TokenizerData& data, SectionHeader& h) {
  h.flags = static_cast<std::uint8_t>(h.flags | (data.add_prefix_space ? kAddPrefixSpace : 0) | (data.ignore_merges ? kIgnoreMerges : 0));
  h.merges = static_cast<std::uint32_t>(data.merges.size());
  h.splits = static_cast<std::uint32_t>(data.splits.size());
}

void write(const TokenizerData& data, SectionWriter& out) {
  for (const Merge& m : data.merges) out.number(m.left), out.number(m.right), out.number(m.result);
  for (const SplitRule& rule : data.splits) {
    out.number(rule.kind);
    out.zeros(3);
    out.number(static_cast<std::uint32_t>(rule.expression.size()));
    out.text(rule.expression);
  }
}

void read(SectionReader& in, const SectionHeader& h, TokenizerData& data) {
  data.add_prefix_space = (h.flags & kAddPrefixSpace) != 0;
  data.ignore_merges = (h.flags & kIgnoreMerges) != 0;
  FieldReader merges(in.take("merges", h.merges, kMergeBytes));
  data.merges.resize(h.merges);
  for (Merge& m : data.merges) merges.number(m.left), merges.number(m.right), merges.number(m.result);
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

const KindSection kByteLevelSection = {TokenizerKind::byte_level_bpe, kAddPrefixSpace | kIgnoreMerges, check, fill, write, read};

}  // namespace leafcutter::compress
