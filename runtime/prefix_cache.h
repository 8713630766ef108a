// The ids whose keys and values a sequence's cache holds, so that a prompt that begins as the last one did is not computed again from its start.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "runtime/prompt_rows.h"

namespace leafcutter::runtime {

class PrefixCache {
 public:
  explicit PrefixCache(Model& model, std::uint32_t sequence = 0) : model_(model), sequence_(sequence) {}

  // Cuts the cache back to what it shares with `ids` and returns the rest, which is never empty unless ids is: the last id's logits are wanted. Where the ids of a prompt see later ones (CPM-Ant), only
  // the very same prompt, behind the same slots, is of use; its last id, which sees all the others, is then computed as what follows them.
  std::span<const std::uint32_t> rest_of(std::span<const std::uint32_t> ids, std::uint32_t task = kTextTask) {
    const std::uint64_t slots = prompt_slots(model_.index().model);
    const std::size_t cached = model_.cached_positions(sequence_),
                      held = std::min<std::size_t>(held_.size(), cached - std::min<std::size_t>(cached, slots));
    std::size_t same = 0;
    while (same < held && same + 1 < ids.size() && held_[same] == ids[same]) same++;
    const bool is_prompt =
        task == task_ && prompt_ == ids.size() && held >= ids.size() && same + 1 == ids.size() && held_[same] == ids.back();
    if (slots > 0 && !is_prompt) same = 0;
    model_.truncate(sequence_, same == 0 ? 0 : slots + same);
    held_.assign(ids.begin(), ids.end());
    prompt_ = ids.size();
    task_ = task;
    return ids.subspan(same);
  }

  // The cache holds something else now.
  void forget() {
    held_.clear();
    model_.truncate(sequence_, 0);
  }

  // What was generated after them; the cache may not hold the last one yet.
  void append(std::span<const std::uint32_t> ids) { held_.insert(held_.end(), ids.begin(), ids.end()); }

 private:
  Model& model_;
  const std::uint32_t sequence_;
  std::vector<std::uint32_t> held_;
  std::size_t prompt_ = 0;  // of them, the ids of the last prompt
  std::uint32_t task_ = kTextTask;
};

}  // namespace leafcutter::runtime
