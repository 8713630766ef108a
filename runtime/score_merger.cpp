#include "runtime/score_merger.h"

#include <algorithm>
#include <queue>
#include <unordered_map>

namespace leafcutter::runtime {
namespace {

using compress::TokenKind;

constexpr std::uint32_t kNone = ~0u;

struct Link {
  std::string_view text;  // empty: merged away
  std::uint32_t previous, next;
  bool whole;
};

struct Candidate {
  float score;
  std::uint32_t left, right;
  std::size_t bytes;  // of both when they were found: other sizes since, and it counts no more
  // A queue's top is the largest: the best score, the leftmost among equals.
  bool operator<(const Candidate& other) const { return score != other.score ? score < other.score : left > other.left; }
};

}  // namespace

ScoreMerger::ScoreMerger(const TokenTable& table, TokenKinds kinds, std::span<const float> scores)
    : table_(table), kinds_(kinds), scores_(scores) {
  for (std::uint32_t id = 0; id < table.size(); id++) longest_ = std::max(longest_, table.text(id).size());
}

// Special tokens and those of bytes are never spelled by text.
ScoreMerger::Found ScoreMerger::find(std::string_view text) const {
  if (text.size() > longest_) return {};
  const auto id = table_.find(text);
  if (!id) return {};
  const TokenKind kind = kinds_[*id];
  if (kind != TokenKind::normal && kind != TokenKind::user_defined && kind != TokenKind::unused) return {};
  return {true, kind == TokenKind::unused, scores_[*id]};
}

std::vector<std::string_view> ScoreMerger::merge(std::span<const Symbol> symbols) const {
  const auto count = static_cast<std::uint32_t>(symbols.size());
  std::vector<Link> links;
  links.reserve(count);
  for (std::uint32_t i = 0; i < count; i++)
    links.push_back({symbols[i].text, i == 0 ? kNone : i - 1, i + 1 == count ? kNone : i + 1, symbols[i].whole});
  std::unordered_map<std::string_view, std::size_t> unused;  // text of an unused token -> bytes of its left part
  std::priority_queue<Candidate> heap;
  const auto look = [&](std::uint32_t left) {
    if (left == kNone || links[left].next == kNone) return;
    const Link &a = links[left], &b = links[a.next];
    if (a.whole || b.whole) return;
    const std::string_view both(a.text.data(), a.text.size() + b.text.size());
    const Found found = find(both);
    if (!found.mergeable) return;
    if (found.unused) unused[both] = a.text.size();
    heap.push({found.score, left, a.next, both.size()});
  };
  for (std::uint32_t i = 0; i + 1 < count; i++) look(i);
  while (!heap.empty()) {
    const Candidate best = heap.top();
    heap.pop();
    Link &left = links[best.left], &right = links[best.right];
    if (left.text.empty() || right.text.empty() || left.text.size() + right.text.size() != best.bytes) continue;
    left.text = {left.text.data(), best.bytes};
    left.next = right.next;
    if (right.next != kNone) links[right.next].previous = best.left;
    right.text = {};
    look(left.previous);
    look(best.left);
  }
  std::vector<std::string_view> texts, open;
  for (std::uint32_t at = count == 0 ? kNone : 0; at != kNone; at = links[at].next) {
    open.push_back(links[at].text);
    while (!open.empty()) {
      const std::string_view text = open.back();
      open.pop_back();
      const auto parts = unused.find(text);
      if (parts == unused.end()) {
        texts.push_back(text);
      } else {
        open.push_back(text.substr(parts->second));
        open.push_back(text.substr(0, parts->second));
      }
    }
  }
  return texts;
}

}  // namespace leafcutter::runtime
