#include "runtime/lookup.h"

#include <algorithm>

namespace leafcutter::runtime {

Repeat longest_repeat(std::span<const std::uint32_t> ids) {
  Repeat best;
  if (ids.size() < 2) return best;
  const std::uint32_t last = ids.back();
  for (std::size_t next = ids.size() - 1; next > best.length && best.length < kLongestRepeat; next--) {
    if (ids[next - 1] != last) continue;
    const std::size_t most = std::min(next, kLongestRepeat);
    std::size_t length = 1;
    while (length < most && ids[next - 1 - length] == ids[ids.size() - 1 - length]) length++;
    if (length > best.length) best = {length, next};
  }
  return best;
}

}  // namespace leafcutter::runtime
