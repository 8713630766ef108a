// The ids whose keys and values a sequence's cache holds, so that a prompt that begins as the last one did is not computed again from its start.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "runtime/model.h"

namespace leafcutter::runtime {

class PrefixCache {
 public:
  explicit PrefixCache(Model& model, std::uint32_t sequence = 0) : model_(model), sequence_(sequence) {}

  // Cuts the cache back to what it shares with `ids` and returns the rest, which is never empty unless ids is: the last id's logits are wanted.
  std::span<const std::uint32_t> rest_of(std::span<const std::uint32_t> ids) {
    std::size_t same = 0;
    const std::size_t held = std::min<std::size_t>(held_.size(), model_.cached_positions(sequence_));
    while (same < held && same + 1 < ids.size() && held_[same] == ids[same]) same++;
    model_.truncate(sequence_, same);
    held_.assign(ids.begin(), ids.end());
    return ids.subspan(same);
  }

  // What was generated after them; the cache may not hold the last one yet.
  void append(std::span<const std::uint32_t> ids) { held_.insert(held_.end(), ids.begin(), ids.end()); }

 private:
  Model& model_;
  const std::uint32_t sequence_;
  std::vector<std::uint32_t> held_;
};

}  // namespace leafcutter::runtime
