// SentencePiece's kind of BPE in a .leaf: scores or merges, what is replaced on the way in and back, the rules that cut text.
#include <cmath>

#include "compress/bpe_parts.h"
#include "compress/printable_text.h"

namespace leafcutter::compress {
namespace {

enum Flag : std::uint8_t { kIgnoreMerges = 4, kScores = 8, kByteFallback = 16, kFuseUnknown = 32, kStripFirstToken = 64 };
constexpr std::uint8_t kFlags = kIgnoreMerges | kScores | kByteFallback | kFuseUnknown | kStripFirstToken;
constexpr std::uint64_t kPartHeaderBytes = 8;

void check_replacements(const SectionChecker& checker, const char* field, const std::vector<Replacement>& list) {
  checker.limit(std::string(field) + ", count", list.size(), TokenizerLimits::kReplacements);
  for (const Replacement& r : list) {
    checker.limit(std::string(field) + ", length", std::max(r.from.size(), r.to.size()), TokenizerLimits::kReplacementBytes);
    if (!is_utf8(r.from) || !is_utf8(r.to)) checker.refuse(field, "are no UTF-8");
    if (r.from.empty() && r.to.empty()) checker.refuse(field, "replace nothing by nothing");
  }
}

void check(const SectionChecker& checker) {
  const TokenizerData& data = checker.data;
  check_merges_and_splits(checker);
  if (!data.scores.empty()) {
    if (data.scores.size() != data.tokens.size()) checker.refuse("scores, count", "differs from that of the tokens");
    for (const float score : data.scores)
      if (std::isnan(score)) checker.refuse("scores", "one is no number");
    if (!data.merges.empty() || !data.splits.empty() || data.ignore_merges)
      checker.refuse("scores", "stand beside merges, which go without them");
  }
  check_replacements(checker, "replacements", data.replacements);
  check_replacements(checker, "decoding", data.decoding);
  for (const Replacement& r : data.decoding)
    if (r.from.empty()) checker.refuse("decoding", "replaces nothing");
}

void fill(const TokenizerData& data, SectionHeader& h) {
  h.flags = static_cast<std::uint8_t>(h.flags | (data.ignore_merges ? kIgnoreMerges : 0) | (data.scores.empty() ? 0 : kScores) |
                                      (data.byte_fallback ? kByteFallback : 0) | (data.fuse_unknown ? kFuseUnknown : 0) |
                                      (data.strip_first_token ? kStripFirstToken : 0));
  count_merges_and_splits(data, h);
}

void write_replacements(const std::vector<Replacement>& list, SectionWriter& out) {
  for (const Replacement& r : list) {
    out.number(static_cast<std::uint8_t>(r.from.size()));
    out.number(static_cast<std::uint8_t>(r.to.size()));
    out.text(r.from);
    out.text(r.to);
  }
}

void write(const TokenizerData& data, SectionWriter& out) {
  out.number(static_cast<std::uint8_t>(data.replacements.size()));
  out.number(static_cast<std::uint8_t>(data.decoding.size()));
  out.number(data.strip_spaces);
  out.zeros(5);
  write_replacements(data.replacements, out);
  write_replacements(data.decoding, out);
  for (const float score : data.scores) out.number(score);
  write_merges_and_splits(data, out);
}

std::vector<Replacement> read_replacements(SectionReader& in, std::uint8_t count) {
  std::vector<Replacement> list(count);
  for (Replacement& r : list) {
    FieldReader lengths(in.take("replacement", 2, 1));
    std::uint8_t from = 0, to = 0;
    lengths.number(from);
    lengths.number(to);
    r.from = in.text("replacement", from);
    r.to = in.text("replacement", to);
  }
  return list;
}

void read(SectionReader& in, const SectionHeader& h, TokenizerData& data) {
  data.ignore_merges = (h.flags & kIgnoreMerges) != 0;
  data.byte_fallback = (h.flags & kByteFallback) != 0;
  data.fuse_unknown = (h.flags & kFuseUnknown) != 0;
  data.strip_first_token = (h.flags & kStripFirstToken) != 0;
  FieldReader part(in.take("replacements", 1, kPartHeaderBytes));
  std::uint8_t replacements = 0, decoding = 0;
  part.number(replacements);
  part.number(decoding);
  part.number(data.strip_spaces);
  part.zeros(5);
  if (!part.reserved_are_zero()) in.refuse("replacements", "reserved bytes are not zero");
  data.replacements = read_replacements(in, replacements);
  data.decoding = read_replacements(in, decoding);
  if ((h.flags & kScores) != 0) {
    FieldReader scores(in.take("scores", h.tokens, sizeof(float)));
    data.scores.resize(h.tokens);
    for (float& score : data.scores) scores.number(score);
  }
  read_merges_and_splits(in, h, data);
}

}  // namespace

const KindSection kSentencePieceSection = {TokenizerKind::sentencepiece_bpe, kFlags, check, fill, write, read};

}  // namespace leafcutter::compress
