// Attention with a running softmax (Milakov and Gimelshein 2018; Dao et al. 2022), grouped queries, over keys in slots; see kernels/attention.h for what is computed.
//
// A block of threads does one query, or up to eight that read the same KV head: rows that see the same list of slots, heads of a group. Blocks of 32 keys go to its 8 warps in turn. A warp copies the keys to shared
// memory in chunks of 128 bytes, each lane makes the scores of one key with all queries, then each lane adds up some of the outputs' dimensions over the 32 values, which are read once for all queries.
// In the end the sums of the warps are put together, in the order of warps.
//
// Which key is added where and when depends on its position alone, and a query does the same operations alone and among others: keys that it does not see change nothing of its state. So a row's bits are the same
// in every launch.
//
// Bytes moved: each visible row of keys and values once for each tile of queries. Threads: 256. Shared memory: 36 KiB and the queries.
#include "kernels/cuda/attend_shape.h"
#include "kernels/cuda/kv_rows.cuh"
#include "kernels/cuda/port.h"

namespace leafcutter::gpu {
namespace {

constexpr float kNothing = -__builtin_huge_valf();

// A query of the block's tile, as all its threads see it.
struct AttendQuery {
  std::uint64_t slots, segments;  // addresses
  std::uint64_t at;               // of its first float in q and y
  std::uint64_t column;           // of the bias: its first float
  unsigned across;                // of the bias: the float for the first segment type of keys
  unsigned visible, segment;
  int position;
};

// Where a key's weights lie in shared memory, four queries each: such that no lanes collide who write or read one after another.
GPU_INLINE unsigned weights_at(unsigned key, unsigned half) { return 8 * key + 4 * (half ^ (key / 4 & 1)); }

GPU_INLINE AttendQuery query_of(const kernels::AttendLaunch& a, std::uint64_t query, unsigned kv_head) {
  const std::uint64_t group = a.heads / a.kv_heads, row = query / group, head = kv_head * group + query % group;
  const kernels::DeviceAttentionRow& entry = at<const kernels::DeviceAttentionRow>(a.table)[row];
  AttendQuery q{entry.slots.value,
                entry.segments.value,
                (row * a.heads + head) * a.head_dim,
                0,
                0,
                static_cast<unsigned>(entry.visible),
                entry.segment,
                static_cast<int>(entry.position)};
  if (!a.bias_by_distance.value) return q;
  const std::uint64_t column = a.bias_columns.value ? at<const std::uint16_t>(a.bias_columns)[head] : head;
  q.column = column * a.distance_stride;
  q.across = static_cast<unsigned>(entry.segment * a.segment_types * a.columns + column);
  return q;
}

GPU_INLINE float bias_of(const kernels::AttendLaunch& a, const AttendQuery& q, unsigned key, unsigned segment) {
  if (segment != q.segment) return at<const float>(a.bias_across)[q.across + segment * a.columns];
  const int reach = static_cast<int>(a.reach), distance = static_cast<int>(key) - q.position;
  return at<const float>(a.bias_by_distance)[q.column + static_cast<unsigned>(max(-reach, min(distance, reach)) + reach)];
}

// The kernel for one format of rows, one head dimension (0: any) and the most queries of a tile.
template <class Rows, unsigned kHeadDim, unsigned kQueries>
struct Attend {
  static constexpr unsigned kUnit = kHeadDim ? kv_row_alignment(Rows::kType, kHeadDim) : 4;
  static constexpr unsigned kDims = kHeadDim == 0 ? 8 : kHeadDim <= 64 ? 2 : kHeadDim <= 128 ? 4 : 8;  // of a lane
  static constexpr unsigned kMerged = kQueries * kDims <= 32 ? kQueries : 32 / kDims;  // queries that are merged at a time, each by a warp
  static_assert(kMerged * kDims * kWarp * sizeof(float) <= kAttendStageBytes && kMerged <= kAttendWarps);

  // The KV head's rows, and what of them the lane adds up.
  struct Cache {
    const unsigned char *keys, *values;
    unsigned head_dim, row_bytes, value_bytes, first_dim;
  };

  // What a warp has added up of the tile's queries, of the keys it did: lane t has the largest score of query t, each lane the sum of weights of its keys, and y of its dimensions.
  struct Sums {
    float largest = kNothing, sum[kQueries] = {}, y[kQueries][kDims] = {};
  };

  // scores[t] = q[t] . the lane's key
  GPU_INLINE void multiply_keys(const Cache& cache, const float* q, unsigned char* stage, unsigned slot, float (&scores)[kQueries]) {
    GPU_KEEP_LOOP
    for (unsigned d = 0; d < cache.head_dim; d += Rows::kChunkDims) {
      const unsigned offset = d * (kKvChunkBytes / Rows::kChunkDims), bytes = min(kKvChunkBytes, cache.value_bytes - offset);
      stage_rows<kUnit>(stage, kAttendPitch, cache.keys + offset, cache.row_bytes, slot, bytes, (bytes + 15) / 16 * 16);
      if constexpr (Rows::kType == kernels::KvType::q8) {
        const unsigned scale_bytes = bytes / kKvGroup * 4;
        stage_rows<4>(stage + kKvChunkBytes, kAttendPitch, cache.keys + cache.value_bytes + d / kKvGroup * 4, cache.row_bytes, slot,
                      scale_bytes, scale_bytes);
      }
      sync_warp();
      add_dots<Rows>(stage + lane() * kAttendPitch, min(Rows::kChunkDims, cache.head_dim - d), q + d, attend_query_floats(cache.head_dim),
                     scores);
      sync_warp();
    }
  }

  // Products of the lane's key become weights, and what was added up before is made to fit them; -1 for queries that do not see it. in_run: a bit for each query that is done now.
  GPU_INLINE void weigh(const kernels::AttendLaunch& a, const AttendQuery* queries, unsigned in_run, unsigned key, unsigned segment,
                        float (&scores)[kQueries], Sums& sums) {
    GPU_UNROLL
    for (unsigned t = 0; t < kQueries; t++) {
      const bool seen = (in_run >> t & 1) != 0 && key < queries[t].visible;
      float score = kNothing;
      if (seen) {
        score = scores[t] * a.scale;
        if (a.bias_by_distance.value) score += bias_of(a, queries[t], key, segment);
      }
      const float before = kQueries == 1 ? sums.largest : shuffle(sums.largest, t), largest = max(before, warp_max(score));
      const float base = largest == kNothing ? 0 : largest;
      const float kept = exp(before - base), weight = seen ? exp(score - base) : 0;
      if (kQueries == 1 || lane() == t) sums.largest = largest;
      sums.sum[t] = fma(sums.sum[t], kept, weight);
      GPU_UNROLL
      for (unsigned d = 0; d < kDims; d++) sums.y[t][d] *= kept;
      scores[t] = seen ? weight : -1;
    }
  }

  // y += weights of `keys` keys times their values. kSome: not all queries see all of them. weights: of several queries, in shared memory; weight: of one, the lane's key's.
  template <bool kSome>
  GPU_INLINE void add_values(const Cache& cache, unsigned slot, unsigned keys, float weight, const float* weights, Sums& sums) {
    constexpr unsigned kBatch = kQueries == 1 ? 8 : (kSome ? 2 : 4);  // rows whose loads are on their way together
    GPU_KEEP_LOOP
    for (unsigned begin = 0; begin < keys; begin += kBatch) {
      unsigned w[kBatch][Rows::template kWords<kDims>];
      float scale[kBatch] = {};
      GPU_UNROLL
      for (unsigned i = 0; i < kBatch; i++) {
        const unsigned char* row = cache.values + std::uint64_t{shuffle(slot, min(begin + i, keys - 1))} * cache.row_bytes;
        load_values<Rows, kDims, kUnit>(row, cache.first_dim, cache.value_bytes, w[i]);
        if constexpr (Rows::kType == kernels::KvType::q8)
          if (cache.first_dim < cache.value_bytes) scale[i] = float_of(load4(row + cache.value_bytes + cache.first_dim / kKvGroup * 4));
      }
      GPU_UNROLL
      for (unsigned i = 0; i < kBatch; i++) {
        if (begin + i >= keys) break;
        float v[kDims], p[kQueries];
        Rows::template unpack<kDims>(w[i], scale[i], v);
        if constexpr (kQueries == 1) {
          p[0] = shuffle(weight, begin + i);
        } else {
          GPU_UNROLL
          for (unsigned half = 0; half < 2; half++) {
            const F4 four = *reinterpret_cast<const F4*>(weights + weights_at(begin + i, half));
            p[4 * half] = four.x, p[4 * half + 1] = four.y, p[4 * half + 2] = four.z, p[4 * half + 3] = four.w;
          }
        }
        GPU_UNROLL
        for (unsigned t = 0; t < kQueries; t++) {
          if (kSome && p[t] < 0) continue;
          GPU_UNROLL
          for (unsigned d = 0; d < kDims; d++) sums.y[t][d] = fma(p[t], v[d], sums.y[t][d]);
        }
      }
    }
  }

  // The warp's blocks of keys, for the queries of a run: those that see the same list, of which the first is `queries[begin]`.
  GPU_INLINE Sums add_keys(const kernels::AttendLaunch& a, const Cache& cache, const float* q, const AttendQuery* queries, unsigned begin,
                           unsigned end, unsigned char* stage) {
    unsigned most = 0, least = ~0u;
    for (unsigned t = begin; t < end; t++) most = max(most, queries[t].visible), least = min(least, queries[t].visible);
    Sums sums;
    GPU_KEEP_LOOP
    for (unsigned first = warp() * kAttendKeys; first < most; first += kAttendWarps * kAttendKeys) {
      const unsigned keys = min(kAttendKeys, most - first), key = first + min(lane(), keys - 1);
      const unsigned slot = reinterpret_cast<const unsigned*>(queries[begin].slots)[key];
      float scores[kQueries] = {};
      multiply_keys(cache, q, stage, slot, scores);
      const unsigned segment = a.bias_by_distance.value ? reinterpret_cast<const unsigned char*>(queries[begin].segments)[key] : 0;
      weigh(a, queries, lane() < keys ? (1u << end) - (1u << begin) : 0, key, segment, scores, sums);
      float* const weights = reinterpret_cast<float*>(stage);
      if constexpr (kQueries > 1) {
        GPU_UNROLL
        for (unsigned half = 0; half < 2; half++)
          *reinterpret_cast<F4*>(weights + weights_at(lane(), half)) = {scores[4 * half], scores[4 * half + 1], scores[4 * half + 2],
                                                                        scores[4 * half + 3]};
        sync_warp();
      }
      if (first + keys <= least)
        add_values<false>(cache, slot, keys, scores[0], weights, sums);
      else
        add_values<true>(cache, slot, keys, scores[0], weights, sums);
      sync_warp();
    }
    return sums;
  }

  // y of the queries begin..end-1 from the sums of all warps. parts: shared memory that all warps are done with.
  GPU_INLINE void merge(const kernels::AttendLaunch& a, const Cache& cache, const AttendQuery* queries, unsigned begin, unsigned end,
                        const Sums& sums, float* parts) {
    GPU_SHARED(float, largest_of, kQueries* kAttendWarps);
    GPU_SHARED(float, sum_of, kQueries* kAttendWarps);
    GPU_UNROLL
    for (unsigned t = 0; t < kQueries; t++) {
      const float sum = warp_sum(sums.sum[t]);
      if (lane() == t) largest_of[t * kAttendWarps + warp()] = sums.largest, sum_of[t * kAttendWarps + warp()] = sum;
    }
    GPU_UNROLL
    for (unsigned first = 0; first < kQueries; first += kMerged) {
      sync_block();
      GPU_UNROLL
      for (unsigned i = 0; i < kMerged * kDims; i++)
        parts[(warp() * kMerged * kDims + i) * kWarp + lane()] = sums.y[first + i / kDims][i % kDims];
      sync_block();
      const unsigned t = first + warp();
      if (warp() >= kMerged || t < begin || t >= end) continue;
      float largest = kNothing, sum = 0, y[kDims] = {};
      for (unsigned w = 0; w < kAttendWarps; w++) largest = max(largest, largest_of[t * kAttendWarps + w]);
      const float base = largest == kNothing ? 0 : largest;
      GPU_KEEP_LOOP
      for (unsigned w = 0; w < kAttendWarps; w++) {
        const float kept = exp(largest_of[t * kAttendWarps + w] - base);
        sum = fma(sum_of[t * kAttendWarps + w], kept, sum);
        GPU_UNROLL
        for (unsigned d = 0; d < kDims; d++) y[d] = fma(parts[((w * kMerged + warp()) * kDims + d) * kWarp + lane()], kept, y[d]);
      }
      GPU_UNROLL
      for (unsigned d = 0; d < kDims; d++)
        if (cache.first_dim + d < cache.head_dim) at<float>(a.y)[queries[t].at + cache.first_dim + d] = sum > 0 ? y[d] / sum : 0;
    }
    sync_block();
  }

  GPU_INLINE void run(const kernels::AttendLaunch& a) {
    GPU_DYNAMIC_SHARED(unsigned char, shared);
    GPU_SHARED(AttendQuery, queries, kQueries);
    const unsigned head_dim = kHeadDim ? kHeadDim : static_cast<unsigned>(a.head_dim), q_stride = attend_query_floats(head_dim);
    const unsigned kv_head = block_y();
    const Cache cache{at<const unsigned char>(a.keys) + kv_head * a.head_stride,
                      at<const unsigned char>(a.values) + kv_head * a.head_stride,
                      head_dim,
                      kv_row_bytes(Rows::kType, head_dim),
                      kv_value_bytes(Rows::kType, head_dim),
                      block_z() * kAttendSlice + lane() * kDims};
    float* const q = reinterpret_cast<float*>(shared);
    unsigned char* const stages = shared + kQueries * q_stride * sizeof(float);

    const AttendTiles tiles = attend_tiles(a, kQueries);
    const std::uint64_t span = block_x() / tiles.tiles, first = span * tiles.queries + block_x() % tiles.tiles * kQueries;
    const std::uint64_t left = (span + 1) * tiles.queries - first;
    const unsigned count = left < kQueries ? static_cast<unsigned>(left) : kQueries;
    if (thread() < count) queries[thread()] = query_of(a, first + thread(), kv_head);
    sync_block();
    for (unsigned i = thread(); i < kQueries * q_stride; i += kAttendThreads) {
      const unsigned t = i / q_stride, d = i % q_stride;
      q[i] = t < count && d < head_dim ? at<const float>(a.q)[queries[t].at + d] : 0;
    }
    sync_block();
    GPU_KEEP_LOOP
    for (unsigned begin = 0, end = 0; begin < count; begin = end) {
      while (end < count && queries[end].slots == queries[begin].slots && queries[end].segments == queries[begin].segments) end++;
      const Sums sums = add_keys(a, cache, q, queries, begin, end, stages + warp() * kAttendStageBytes);
      merge(a, cache, queries, begin, end, sums, reinterpret_cast<float*>(stages));
    }
  }
};

}  // namespace

#define ATTEND_KERNELS(type, Rows, dims, head_dim)                                                                          \
  GPU_KERNEL(lc_attend_##type##_##dims##_one, kernels::AttendLaunch, kAttendThreads) { Attend<Rows, head_dim, 1>::run(a); } \
  GPU_KERNEL(lc_attend_##type##_##dims##_several, kernels::AttendLaunch, kAttendThreads) { Attend<Rows, head_dim, kAttendQueries>::run(a); }

ATTEND_KERNELS(f32, FloatRows, any, 0)
ATTEND_KERNELS(f16, HalfRows, 64, 64)
ATTEND_KERNELS(f16, HalfRows, 96, 96)
ATTEND_KERNELS(f16, HalfRows, 128, 128)
ATTEND_KERNELS(f16, HalfRows, 256, 256)
ATTEND_KERNELS(f16, HalfRows, any, 0)
ATTEND_KERNELS(q8, CodeRows, 64, 64)
ATTEND_KERNELS(q8, CodeRows, 96, 96)
ATTEND_KERNELS(q8, CodeRows, 128, 128)
ATTEND_KERNELS(q8, CodeRows, 256, 256)
ATTEND_KERNELS(q8, CodeRows, any, 0)

}  // namespace leafcutter::gpu
