#include "runtime/added_tokens.h"

#include <algorithm>

#include "compress/split_rules.h"
#include "runtime/utf8.h"

namespace leafcutter::runtime {
namespace {

using compress::SplitRule;

// The last character of a text that is not empty; a byte of broken text.
std::string_view last_character(std::string_view text) {
  for (std::size_t n = 1; n <= std::min<std::size_t>(4, text.size()); n++) {
    const std::string_view end = text.substr(text.size() - n);
    const Utf8Step step = next_character(end);
    if (step.kind == Utf8Step::Kind::whole && step.bytes == n) return end;
  }
  return text.substr(text.size() - 1);
}

std::size_t spaces_at_start(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    const Utf8Step step = next_character(text.substr(at));
    if (step.kind != Utf8Step::Kind::whole || !is_white_space(text.substr(at, step.bytes))) break;
    at += step.bytes;
  }
  return at;
}

std::size_t spaces_at_end(std::string_view text) {
  std::size_t count = 0;
  while (count < text.size()) {
    const std::string_view last = last_character(text.substr(0, text.size() - count));
    if (!is_white_space(last)) break;
    count += last.size();
  }
  return count;
}

}  // namespace

void AddedTokens::add(std::uint32_t id, std::string_view text, const compress::TokenMatch& match, bool special) {
  if (text.empty()) return;
  entries_.push_back({static_cast<std::uint32_t>(bytes_.size()), static_cast<std::uint32_t>(text.size()), id, special, match.left_strip,
                      match.right_strip, match.single_word});
  bytes_.insert(bytes_.end(), text.begin(), text.end());
  first_bytes_[static_cast<std::uint8_t>(text[0])] = true;
  if (match.single_word && !word_) {
    const SplitRule rule{
        .kind = SplitRule::Kind::expression, .expression = compress::word_character_expression(), .matches = SplitRule::Matches::removed};
    word_ = std::make_unique<TextSplitter>(std::span(&rule, 1), "added tokens");
  }
}

void AddedTokens::index() {
  std::stable_sort(entries_.begin(), entries_.end(), [&](const Entry& a, const Entry& b) { return text_of(a) < text_of(b); });
  const auto same = [&](const Entry& a, const Entry& b) { return text_of(a) == text_of(b); };
  entries_.erase(std::unique(entries_.begin(), entries_.end(), same), entries_.end());
}

// Texts with a common beginning are neighbours: each byte narrows the range of those that still fit.
const AddedTokens::Entry* AddedTokens::longest_at(std::string_view text) const {
  if (!first_bytes_[static_cast<std::uint8_t>(text[0])]) return nullptr;
  const Entry* best = nullptr;
  auto low = entries_.begin(), high = entries_.end();
  for (std::size_t depth = 0; low != high; depth++) {
    if (low->bytes == depth && depth > 0) best = &*low++;
    if (depth == text.size()) break;
    const auto wanted = static_cast<unsigned char>(text[depth]);
    const auto byte = [&](const Entry& entry) { return static_cast<unsigned char>(bytes_[entry.at + depth]); };
    low = std::partition_point(low, high, [&](const Entry& entry) { return byte(entry) < wanted; });
    high = std::partition_point(low, high, [&](const Entry& entry) { return byte(entry) == wanted; });
  }
  return best;
}

bool AddedTokens::is_word(std::string_view character) const {
  return next_character(character).kind == Utf8Step::Kind::whole && word_->split(character).empty();
}

std::vector<AddedTokens::Part> AddedTokens::cut(std::string_view text, bool parse_special) const {
  std::vector<Part> parts;
  std::size_t done = 0;
  for (std::size_t at = 0; at < text.size();) {
    const Entry* entry = longest_at(text.substr(at));
    if (!entry) {
      at++;
      continue;
    }
    std::size_t begin = at, end = at + entry->bytes;
    at = end;
    if (entry->special && !parse_special) continue;
    if (entry->single_word) {
      const std::string_view before = text.substr(0, begin), after = text.substr(end);
      if (!before.empty() && is_word(last_character(before))) continue;
      if (!after.empty() && is_word(after.substr(0, next_character(after).bytes))) continue;
    }
    if (entry->left_strip) begin = std::max(begin - spaces_at_end(text.substr(0, begin)), done);
    if (entry->right_strip) end += spaces_at_start(text.substr(end));
    if (begin > done) parts.push_back({text.substr(done, begin - done), kText});
    parts.push_back({text.substr(begin, end - begin), entry->id});
    done = end;
  }
  if (done < text.size()) parts.push_back({text.substr(done), kText});
  return parts;
}

}  // namespace leafcutter::runtime
