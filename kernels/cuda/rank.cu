// One block a row. Values and their indices become keys that all differ, so that there is one answer. A thread knows the two best of every 1024th value; a round finds the best of all threads, which then takes its
// next one. It reads its values again where it runs out of those it knows: rarely, since the best of a row seldom are three of one thread.
//
// A round costs some shuffles and one barrier: for hundreds of the best, not for thousands. Bytes moved: the row, once.
#include "kernels/cuda/port.h"
#include "kernels/cuda/rank_shape.h"

namespace leafcutter::gpu {
namespace {

// Larger for better values, and of equal values for the smaller index. 0: none.
struct RankKey {
  unsigned value, turned_index;
  GPU_INLINE RankKey none() { return {0, 0}; }
  GPU_INLINE RankKey all() { return {~0u, ~0u}; }
};

GPU_INLINE bool better(RankKey a, RankKey b) { return a.value != b.value ? a.value > b.value : a.turned_index > b.turned_index; }

GPU_INLINE RankKey rank_key(float value, unsigned index) {
  const unsigned bits = bits_of(value == value ? value + 0.0f : -__builtin_huge_valf());  // -0 is 0
  return {bits >> 31 ? ~bits : bits | 0x80000000u, ~index};
}

GPU_INLINE RankKey warp_best(RankKey key) {
  GPU_UNROLL
  for (unsigned mask = kWarp / 2; mask > 0; mask /= 2) {
    const RankKey other{shuffle_xor(key.value, mask), shuffle_xor(key.turned_index, mask)};
    if (better(other, key)) key = other;
  }
  return key;
}

struct RankPair {
  RankKey first, second;
};

// The thread's two best keys that are worse than `limit`.
GPU_INLINE RankPair best_two(const float* x, unsigned width, RankKey limit) {
  constexpr unsigned kBatch = 8;  // values whose loads are on their way together
  RankPair pair{RankKey::none(), RankKey::none()};
  for (unsigned begin = thread(); begin < width; begin += kBatch * kRankThreads) {
    float v[kBatch];
    GPU_UNROLL
    for (unsigned i = 0; i < kBatch; i++) v[i] = begin + i * kRankThreads < width ? x[begin + i * kRankThreads] : 0;
    GPU_UNROLL
    for (unsigned i = 0; i < kBatch; i++) {
      const RankKey key = begin + i * kRankThreads < width ? rank_key(v[i], begin + i * kRankThreads) : RankKey::none();
      if (!better(limit, key)) continue;
      if (better(key, pair.first))
        pair = {key, pair.first};
      else if (better(key, pair.second))
        pair.second = key;
    }
  }
  return pair;
}

}  // namespace

GPU_KERNEL(lc_rank, kernels::RankLaunch, kRankThreads) {
  GPU_SHARED(RankKey, best_of_warp, 2 * kRankThreads / kWarp);  // of this round and of the next
  const float* x = at<float>(a.x) + block_x() * a.x_stride;
  const unsigned width = static_cast<unsigned>(a.width), k = static_cast<unsigned>(a.k);
  kernels::Ranked* best = at<kernels::Ranked>(a.best) + std::uint64_t{block_x()} * k;

  RankPair mine = best_two(x, width, RankKey::all());
  RankKey of_warp = warp_best(mine.first);
  for (unsigned round = 0; round < k; round++) {
    RankKey* const posted = best_of_warp + round % 2 * (kRankThreads / kWarp);
    if (lane() == 0) posted[warp()] = of_warp;
    sync_block();
    const RankKey winner = warp_best(posted[lane()]);
    const unsigned index = ~winner.turned_index, owner = index % kRankThreads;
    if (warp() != owner / kWarp) continue;
    if (thread() == owner) {
      best[round] = {index, x[index]};
      mine = {mine.second, RankKey::none()};
      if (!mine.first.value) mine = best_two(x, width, winner);
    }
    of_warp = warp_best(mine.first);
  }
}

}  // namespace leafcutter::gpu
