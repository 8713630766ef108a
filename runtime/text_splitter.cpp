#define PCRE2_CODE_UNIT_WIDTH 8
#include "runtime/text_splitter.h"

#include <pcre2.h>

#include "base/error.h"
#include "compress/split_pattern.h"

namespace leafcutter::runtime {
namespace {

constexpr std::uint32_t kMatchLimit = 10'000'000, kDepthLimit = 100'000, kHeapKilobytes = 32 << 10;

std::string message_of(int code) {
  PCRE2_UCHAR text[200] = {};
  pcre2_get_error_message(code, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

template <auto kFree>
struct Freed {
  template <class T>
  void operator()(T* p) const {
    kFree(p);
  }
};
using MatchContext = std::unique_ptr<pcre2_match_context, Freed<pcre2_match_context_free>>;
using MatchData = std::unique_ptr<pcre2_match_data, Freed<pcre2_match_data_free>>;

}  // namespace

struct TextSplitter::Expression {
  decltype(compress::SplitPattern::code) code;
  MatchContext limits;
  compress::SplitRule::Matches matches;
  bool invert;
};

TextSplitter::TextSplitter(std::span<const compress::SplitRule> rules, const std::string& file) {
  for (const compress::SplitRule& rule : rules) {
    compress::SplitPattern pattern = compress::compile_split(rule);
    if (!pattern.code) throw Error(ErrorKind::unsupported, file + ", tokenizer", "its " + pattern.problem);
    MatchContext limits(pcre2_match_context_create(nullptr));
    if (!limits) throw std::bad_alloc();
    pcre2_set_match_limit(limits.get(), kMatchLimit);
    pcre2_set_depth_limit(limits.get(), kDepthLimit);
    pcre2_set_heap_limit(limits.get(), kHeapKilobytes);
    expressions_.push_back({std::move(pattern.code), std::move(limits), rule.matches, rule.invert});
  }
}

TextSplitter::~TextSplitter() = default;

namespace {

using Matches = compress::SplitRule::Matches;

struct Part {
  std::string_view text;
  bool match;
};

// Puts neighbours together; both lie in one text.
std::string_view joined(std::string_view a, std::string_view b) { return {a.data(), a.size() + b.size()}; }

void arrange(std::span<Part> parts, Matches matches, std::vector<std::string_view>& out) {
  const std::size_t first = out.size();
  switch (matches) {
    case Matches::isolated:
      for (const Part& part : parts) out.push_back(part.text);
      return;
    case Matches::removed:
      for (const Part& part : parts)
        if (!part.match) out.push_back(part.text);
      return;
    case Matches::contiguous:
      for (std::size_t i = 0; i < parts.size(); i++)
        if (i > 0 && parts[i].match == parts[i - 1].match)
          out.back() = joined(out.back(), parts[i].text);
        else
          out.push_back(parts[i].text);
      return;
    case Matches::merged_with_previous:
      for (std::size_t i = 0; i < parts.size(); i++)
        if (parts[i].match && out.size() > first && !parts[i - 1].match)
          out.back() = joined(out.back(), parts[i].text);
        else
          out.push_back(parts[i].text);
      return;
    case Matches::merged_with_next:
      for (std::size_t i = 0; i < parts.size(); i++)
        if (i > 0 && parts[i - 1].match && !parts[i].match)
          out.back() = joined(out.back(), parts[i].text);
        else
          out.push_back(parts[i].text);
      return;
  }
}

}  // namespace

std::vector<std::string_view> TextSplitter::split(std::string_view text) const {
  std::vector<std::string_view> pieces, next;
  std::vector<Part> parts;
  if (!text.empty()) pieces.push_back(text);
  for (const Expression& expression : expressions_) {
    const MatchData match(pcre2_match_data_create(1, nullptr));
    if (!match) throw std::bad_alloc();
    const PCRE2_SIZE* found = pcre2_get_ovector_pointer(match.get());
    next.clear();
    for (const std::string_view piece : pieces) {
      parts.clear();
      std::size_t at = 0, search = 0;
      while (search < piece.size()) {
        const int result = pcre2_match(expression.code.get(), reinterpret_cast<PCRE2_SPTR>(piece.data()), piece.size(), search,
                                       PCRE2_NO_UTF_CHECK, match.get(), expression.limits.get());
        if (result == PCRE2_ERROR_NOMATCH) break;
        if (result < 0)
          throw Error(ErrorKind::unsupported, "tokenizer", "cutting the text failed: " + message_of(result), "split the text");
        if (found[1] <= found[0]) {  // an empty match cuts nothing; go on behind the next character
          search = std::max(search, found[1]) + 1;
          while (search < piece.size() && (static_cast<unsigned char>(piece[search]) & 0xc0) == 0x80) search++;
          continue;
        }
        if (found[0] > at) parts.push_back({piece.substr(at, found[0] - at), expression.invert});
        parts.push_back({piece.substr(found[0], found[1] - found[0]), !expression.invert});
        at = search = found[1];
      }
      if (at < piece.size()) parts.push_back({piece.substr(at), expression.invert});
      arrange(parts, expression.matches, next);
    }
    pieces.swap(next);
  }
  return pieces;
}

}  // namespace leafcutter::runtime
