#include "runtime/merge_table.h"

#include <algorithm>
#include <bit>
#include <queue>

#include "base/error.h"

namespace leafcutter::runtime {

void check_merges(const compress::TokenizerData& data, const std::string& file) {
  for (const compress::Merge& merge : data.merges)
    if (std::max({merge.left, merge.right, merge.result}) >= data.tokens.size())
      throw Error(ErrorKind::bad_file, file + ", tokenizer", "a merge names a token past the vocabulary");
}

MergeTable::MergeTable(std::span<const compress::Merge> merges) : slots_(std::bit_ceil(merges.size() + merges.size() / 4 + 2)) {
  std::uint32_t rank = 0;
  for (const compress::Merge& merge : merges) {
    std::size_t at = place(merge.left, merge.right);
    while (slots_[at].left != kEmpty && (slots_[at].left != merge.left || slots_[at].right != merge.right))
      at = (at + 1) & (slots_.size() - 1);
    if (slots_[at].left == kEmpty) slots_[at] = {merge.left, merge.right, rank, merge.result};  // the first of equals counts
    rank++;
  }
}

std::size_t MergeTable::place(std::uint32_t left, std::uint32_t right) const {
  const std::uint64_t key = (std::uint64_t{left} << 32 | right) * 0x9e3779b97f4a7c15ull;
  return static_cast<std::size_t>(key >> 32) & (slots_.size() - 1);
}

const MergeTable::Slot* MergeTable::find(std::uint32_t left, std::uint32_t right) const {
  for (std::size_t at = place(left, right);; at = (at + 1) & (slots_.size() - 1)) {
    if (slots_[at].left == kEmpty) return nullptr;
    if (slots_[at].left == left && slots_[at].right == right) return &slots_[at];
  }
}

void MergeTable::merge(std::vector<std::uint32_t>& ids) const {
  if (ids.size() < 2) return;
  struct Symbol {
    std::uint32_t id, previous, next;
  };
  struct Candidate {
    std::uint32_t rank, at, result;  // of what stood at `at` and behind it when this was found
    bool operator<(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : at > other.at;
    }  // a queue's top is the largest
  };
  constexpr std::uint32_t kNone = ~0u;
  const auto count = static_cast<std::uint32_t>(ids.size());
  std::vector<Symbol> symbols(count);
  for (std::uint32_t i = 0; i < count; i++) symbols[i] = {ids[i], i == 0 ? kNone : i - 1, i + 1 == count ? kNone : i + 1};
  std::priority_queue<Candidate> heap;
  const auto look = [&](std::uint32_t at) {
    if (at == kNone || symbols[at].next == kNone) return;
    const std::uint32_t left = symbols[at].id, right = symbols[symbols[at].next].id;
    if (const Slot* slot = find(left, right)) heap.push({slot->rank, at, slot->result});
  };
  for (std::uint32_t i = 0; i + 1 < count; i++) look(i);
  while (!heap.empty()) {
    const Candidate best = heap.top();
    heap.pop();
    Symbol& left = symbols[best.at];
    if (left.id == kNone || left.next == kNone) continue;  // merged away since
    // Other symbols may stand there by now; what counts is, as in the tokenizers library, that they make the same token.
    const Slot* slot = find(left.id, symbols[left.next].id);
    if (!slot || slot->result != best.result) continue;
    const std::uint32_t gone = left.next;
    left.id = slot->result;
    left.next = symbols[gone].next;
    symbols[gone].id = kNone;
    if (left.next != kNone) symbols[left.next].previous = best.at;
    look(left.previous);
    look(best.at);
  }
  ids.clear();
  for (std::uint32_t at = 0; at != kNone; at = symbols[at].next) ids.push_back(symbols[at].id);
}

}  // namespace leafcutter::runtime
