#include "compress/bpe_parts.h"

#include "compress/printable_text.h"

namespace leafcutter::compress {
namespace {

constexpr std::uint64_t kMergeBytes = 12, kSplitHeaderBytes = 8;
enum SplitBit : std::uint8_t { kInvert = 1, kCut = 2, kAllBits = 3 };

void check_merge(const SectionChecker& checker, std::size_t i) {
  const Merge& m = checker.data.merges[i];
  const std::size_t tokens = checker.data.tokens.size();
  if (m.left >= tokens || m.right >= tokens || m.result >= tokens)
    for (std::uint32_t id : {m.left, m.right, m.result}) checker.check_id("merge " + std::to_string(i), id);
}

void check_split(const SectionChecker& checker, std::size_t i) {
  const SplitRule& rule = checker.data.splits[i];
  const std::string field = "split " + std::to_string(i);
  const auto unknown = [&](const char* what, unsigned value) {
    checker.refuse(field + ", " + what, std::to_string(value) + " is not known to this program");
  };
  using Kind = SplitRule::Kind;
  if (rule.kind > Kind::metaspace) unknown("kind", static_cast<unsigned>(rule.kind));
  if (rule.matches > SplitRule::Matches::contiguous) unknown("matches", static_cast<unsigned>(rule.matches));
  if (rule.scheme > SplitRule::Scheme::always) unknown("scheme", static_cast<unsigned>(rule.scheme));
  checker.limit(field + ", length", rule.expression.size(), TokenizerLimits::kExpressionBytes);
  if (rule.kind == Kind::digits && !rule.expression.empty()) checker.refuse(field, "is of kind digits and has an expression");
  if (rule.kind == Kind::expression && rule.expression.empty()) checker.refuse(field, "is an empty expression");
  if (rule.kind == Kind::metaspace && (rule.expression.empty() || rule.expression.size() > TokenizerLimits::kReplacementBytes))
    checker.refuse(field, "its replacement has " + std::to_string(rule.expression.size()) + " bytes");
  const bool matching = rule.matches != SplitRule::Matches::isolated || rule.invert;
  const bool spacing = rule.scheme != SplitRule::Scheme::never || rule.cut;
  if ((matching && rule.kind != Kind::expression) || (spacing && rule.kind != Kind::metaspace))
    checker.refuse(field, "has bits that mean nothing for its kind");
  if (!is_utf8(rule.expression)) checker.refuse(field, "is no UTF-8");
}

}  // namespace

void check_merges_and_splits(const SectionChecker& checker) {
  checker.limit("merges, count", checker.data.merges.size(), TokenizerLimits::kMerges);
  checker.limit("splits, count", checker.data.splits.size(), TokenizerLimits::kSplits);
  for (std::size_t i = 0; i < checker.data.merges.size(); i++) check_merge(checker, i);
  for (std::size_t i = 0; i < checker.data.splits.size(); i++) check_split(checker, i);
}

void count_merges_and_splits(const TokenizerData& data, SectionHeader& h) {
  h.merges = static_cast<std::uint32_t>(data.merges.size());
  h.splits = static_cast<std::uint32_t>(data.splits.size());
}

void write_merges_and_splits(const TokenizerData& data, SectionWriter& out) {
  for (const Merge& m : data.merges) out.number(m.left), out.number(m.right), out.number(m.result);
  for (const SplitRule& rule : data.splits) {
    out.number(rule.kind);
    out.number(rule.matches);
    out.number(static_cast<std::uint8_t>((rule.invert ? kInvert : 0) | (rule.cut ? kCut : 0)));
    out.number(rule.scheme);
    out.number(static_cast<std::uint32_t>(rule.expression.size()));
    out.text(rule.expression);
  }
}

void read_merges_and_splits(SectionReader& in, const SectionHeader& h, TokenizerData& data) {
  FieldReader merges(in.take("merges", h.merges, kMergeBytes));
  data.merges.resize(h.merges);
  for (Merge& m : data.merges) merges.number(m.left), merges.number(m.right), merges.number(m.result);
  for (std::uint32_t i = 0; i < h.splits; i++) {
    FieldReader fields(in.take("split", 1, kSplitHeaderBytes));
    SplitRule rule;
    std::uint8_t bits = 0;
    std::uint32_t length = 0;
    fields.number(rule.kind);
    fields.number(rule.matches);
    fields.number(bits);
    fields.number(rule.scheme);
    fields.number(length);
    if ((bits & ~kAllBits) != 0) in.refuse("split " + std::to_string(i), "has bits that mean nothing");
    rule.invert = (bits & kInvert) != 0;
    rule.cut = (bits & kCut) != 0;
    rule.expression = in.text("split", length);
    data.splits.push_back(std::move(rule));
  }
}

}  // namespace leafcutter::compress
