// Attention over the lanes of a Simd: flash form (Dao et al. 2022), keys in blocks of 64 from position 0, a running maximum and sum for each query.
//
// A query is one head of one row; queries of one KV head that share a cache are worked on together. Each block of keys is turned to [dim][64] floats once, so that scores are made across keys without
// horizontal sums; values are turned to floats once. A query that is alone with its cache (decoding without grouped heads) takes keys and values from the cache to registers, turned there: at the rate of memory,
// where writing a block out to read it once took three times as long. Whatever the number of queries, each query sees the same operations in the same order:
//   s[j] = fma chain over dim, then * scale, then + bias; m' = max(m, max s); p = exp(s - m'); sum = sum * exp(m - m') + lanewise sum of p; y = y * exp(m - m') + chain over j of p[j] v[j]
#pragma once

#include <algorithm>
#include <cstring>
#include <limits>

#include "kernels/attention.h"
#include "kernels/attention_blocks.h"
#include "kernels/exp_lanes.h"
#include "kernels/kv_lanes.h"
#include "kernels/prefetch.h"

namespace leafcutter::kernels {
namespace {

template <class S, KvType type>
class AttentionLanes {
 public:
  explicit AttentionLanes(const AttentionArgs& args)
      : a_(args),
        rows_(args.head_dim),
        group_(args.heads / args.kv_heads),
        dim_(args.head_dim),
        padded_(padded_head_dim(args.head_dim)),
        row_bytes_(kv_row_bytes(type, args.head_dim)) {
    keys_ = args.scratch;
    values_ = keys_ + padded_ * kKeyBlock;
    sums_ = values_ + padded_ * kKeyBlock;
    scores_ = sums_ + padded_ * kQueryBlock;
  }

  void run() {
    for (std::size_t head = a_.head_begin; head < a_.head_end; head += group_) {
      const std::size_t rows_at_once = std::max<std::size_t>(1, kQueryBlock / group_);
      for (std::size_t r = a_.row_begin; r < a_.row_end;) {
        std::size_t end = r + 1;  // rows that share a cache
        while (end < a_.row_end && end - r < rows_at_once && shares_cache(a_.row[end], a_.row[r])) end++;
        for (std::size_t h = 0; h < group_; h += kQueryBlock) block_of_queries(head, h, std::min(group_, h + kQueryBlock), r, end);
        r = end;
      }
    }
  }

 private:
  struct Query {
    const float* q;
    float* y;
    const float* by_distance;  // at distance 0 of the head's column; null: no bias
    const float* across;       // of the query's segment, the head's column
    std::size_t position, visible;
    int segment;
    float maximum, sum;
  };

  static constexpr std::size_t kAhead = kKeyBlock;  // keys whose rows are asked for before they are read

  static bool shares_cache(const AttentionRow& a, const AttentionRow& b) { return a.k == b.k && a.v == b.v && a.slots == b.slots; }

  void block_of_queries(std::size_t head, std::size_t group_begin, std::size_t group_end, std::size_t row_begin, std::size_t row_end) {
    std::size_t count = 0, longest = 0;
    for (std::size_t r = row_begin; r < row_end; r++)
      for (std::size_t h = head + group_begin; h < head + group_end; h++) {
        const AttentionRow& row = a_.row[r];
        Query& query = queries_[count++] = {a_.q + r * a_.q_stride + h * dim_,
                                            a_.y + r * a_.y_stride + h * dim_,
                                            nullptr,
                                            nullptr,
                                            row.position,
                                            row.visible,
                                            row.segment,
                                            -std::numeric_limits<float>::infinity(),
                                            0};
        if (const AttentionBias* bias = a_.bias) {
          const std::size_t column = bias->column ? bias->column[h] : h;
          query.by_distance = bias->by_distance + column * bias->distance_stride;
          query.across = bias->across + row.segment * bias->segment_types * bias->columns + column;
        }
        longest = std::max(longest, row.visible);
      }
    std::fill(sums_, sums_ + count * padded_, 0.0f);
    const AttentionRow& cache = a_.row[row_begin];
    const std::size_t plane = head / group_ * cache.head_stride;
    for (std::size_t begin = 0; begin < longest; begin += kKeyBlock) {
      const std::size_t keys = std::min(kKeyBlock, longest - begin);
      // Whole registers of keys are read, and fetched ahead: behind the last key lies itself.
      for (std::size_t j = 0; j < kKeyBlock + kAhead; j++) {
        const std::size_t key = std::min(begin + j, longest - 1);
        offsets_[j] = plane + (cache.slots ? cache.slots[key] : key) * row_bytes_;
      }
      if (a_.bias) look_at_segments(cache.segments + begin, keys);
      if (count == 1) {
        query_alone(cache, begin, keys);
        continue;
      }
      load_keys(cache, keys);
      load_values(cache, keys);
      for (std::size_t q = 0; q < count;) {
        std::size_t tile[kQueryTile], n = 0;
        for (; q < count && n < kQueryTile; q++)
          if (queries_[q].visible > begin) {
            if (queries_[q].visible <= begin + kKeyBlock) fetch_for_writing(queries_[q].y);
            tile[n++] = q;
          }
        static_assert(kQueryTile == 4);
        if (n == 4)
          tile_of_queries<4>(tile, begin, keys);
        else if (n == 3)
          tile_of_queries<3>(tile, begin, keys);
        else if (n == 2)
          tile_of_queries<2>(tile, begin, keys);
        else if (n == 1)
          tile_of_queries<1>(tile, begin, keys);
      }
    }
    for (std::size_t q = 0; q < count; q++) finish(queries_[q], sums_ + q * padded_);
  }

  void load_keys(const AttentionRow& cache, std::size_t count) {
    const std::size_t whole = dim_ / S::kLanes * S::kLanes;
    typename S::Float key[S::kLanes];
    for (std::size_t j0 = 0; j0 < count; j0 += S::kLanes) {
      for (std::size_t j = 0; fetch_ahead_ && j < S::kLanes; j++) fetch_row(cache.v + offsets_[j0 + j]);
      for (std::size_t i = 0; i < whole; i += S::kLanes) {
        rows_.load_turned(cache.k, offsets_ + j0, i, key);
        for (std::size_t c = 0; c < S::kLanes; c++) S::store(keys_ + (i + c) * kKeyBlock + j0, key[c]);
      }
      if (whole == dim_) continue;
      rows_.load_rest_turned(cache.k, offsets_ + j0, key);
      for (std::size_t c = 0; whole + c < dim_; c++) S::store(keys_ + (whole + c) * kKeyBlock + j0, key[c]);
    }
  }

  // Zeros up to the padded width.
  void load_values(const AttentionRow& cache, std::size_t count) {
    for (std::size_t j = 0; j < count; j++) {
      const std::byte* row = cache.v + offsets_[j];
      if (fetch_ahead_) fetch_row(cache.k + offsets_[j + kAhead]);
      float* to = values_ + j * padded_;
      std::size_t i = 0;
      for (; i < rows_.whole(); i += S::kLanes) S::store(to + i, rows_.load(row, i));
      if (i < dim_) S::store(to + i, rows_.load_rest(row)), i += S::kLanes;
      for (; i < padded_; i += S::kLanes) S::store(to + i, S::zero());
    }
  }

  // What tile_of_queries does, for the only query, with keys and values as they lie in the cache.
  [[gnu::noinline]] void query_alone(const AttentionRow& cache, std::size_t begin, std::size_t keys) {
    const std::size_t first = 0;
    const std::size_t lanes = (keys + S::kLanes - 1) / S::kLanes * S::kLanes;
    std::size_t j = 0;
    for (; j + 2 * S::kLanes <= lanes; j += 2 * S::kLanes) score_alone<2>(cache, j);
    for (; j < lanes; j += S::kLanes) score_alone<1>(cache, j);
    float factor;
    weigh<1>(&first, begin, lanes, &factor);
    std::size_t i = 0;
    for (; i + 8 * S::kLanes <= rows_.whole(); i += 8 * S::kLanes) add_columns_alone<8>(cache, factor, keys, i);
    for (; i + 4 * S::kLanes <= rows_.whole(); i += 4 * S::kLanes) add_columns_alone<4>(cache, factor, keys, i);
    for (; i < dim_; i += S::kLanes) add_columns_alone<1>(cache, factor, keys, i);
  }

  // kSums registers of keys, so that one chain of sums need not wait for itself.
  template <std::size_t kSums>
  [[gnu::noinline]] void score_alone(const AttentionRow& cache, std::size_t j0) {
    const float* q = queries_[0].q;
    const std::size_t* offsets = offsets_ + j0;
    const std::size_t whole = dim_ / S::kLanes * S::kLanes;
    const std::size_t fetches = fetch_ahead_ ? kSums * S::kLanes : 0;
    std::size_t fetched = 0;
    typename S::Float sum[kSums], key[S::kLanes];
    for (std::size_t n = 0; n < kSums; n++) sum[n] = S::zero();
    for (std::size_t i = 0; i < whole; i += S::kLanes)
      for (std::size_t n = 0; n < kSums; n++) {
        for (const std::size_t due = fetched + rows_a_square_; fetched < std::min(due, fetches); fetched++)
          fetch_row(cache.v + offsets[fetched]);
        rows_.load_turned(cache.k, offsets + n * S::kLanes, i, key);
        for (std::size_t c = 0; c < S::kLanes; c++) sum[n] = S::fma(S::set1(q[i + c]), key[c], sum[n]);
      }
    if (whole < dim_)
      for (std::size_t n = 0; n < kSums; n++) {
        rows_.load_rest_turned(cache.k, offsets + n * S::kLanes, key);
        for (std::size_t c = 0; whole + c < dim_; c++) sum[n] = S::fma(S::set1(q[whole + c]), key[c], sum[n]);
      }
    for (std::size_t n = 0; n < kSums; n++) S::store(scores_ + j0 + n * S::kLanes, S::mul(sum[n], S::set1(a_.scale)));
  }

  void fetch_row(const std::byte* row) const {
    constexpr std::size_t kLineBytes = 64;
    for (std::size_t at = 0; at < row_bytes_; at += kLineBytes) prefetch_second_level(row + at);
  }

  template <std::size_t kVectors>
  void add_columns_alone(const AttentionRow& cache, float factor, std::size_t keys, std::size_t i) {
    typename S::Float sum[kVectors];
    for (std::size_t v = 0; v < kVectors; v++) sum[v] = S::mul(S::load(sums_ + i + v * S::kLanes), S::set1(factor));
    const bool ahead = i == 0 && fetch_ahead_;
    for (std::size_t j = 0; j < keys; j++) {
      const std::byte* row = cache.v + offsets_[j];
      if (ahead) fetch_row(cache.k + offsets_[j + kAhead]);
      const auto p = S::set1(scores_[j]);
      for (std::size_t v = 0; v < kVectors; v++) {
        const std::size_t at = i + v * S::kLanes;
        const bool whole = kVectors > 1 || at < rows_.whole();
        sum[v] = S::fma(p, whole ? rows_.load(row, at) : rows_.load_rest(row), sum[v]);
      }
    }
    for (std::size_t v = 0; v < kVectors; v++) S::store(sums_ + i + v * S::kLanes, sum[v]);
  }

  void look_at_segments(const std::uint8_t* segments, std::size_t keys) {
    runs_ = 0;
    for (std::size_t j = 0; j < keys; j++)
      if (j == 0 || segments[j] != segments[j - 1]) run_[runs_++] = {j, segments[j]};
  }

  void add_bias(const Query& query, float* scores, std::size_t begin, std::size_t lanes) const {
    static_assert(kKeyBlock <= kBiasMargin);
    const auto reach = static_cast<std::ptrdiff_t>(a_.bias->reach), distance = static_cast<std::ptrdiff_t>(begin - query.position);
    const float* near = query.by_distance + std::clamp(distance, -reach, reach - static_cast<std::ptrdiff_t>(kKeyBlock) + 1);
    for (std::size_t r = 0; r < runs_; r++) {
      const std::size_t end = r + 1 < runs_ ? run_[r + 1].begin : lanes;
      if (run_[r].segment == query.segment) {
        for (std::size_t j = run_[r].begin; j < end; j++) scores[j] += near[j];
      } else {
        const float offset = query.across[run_[r].segment * a_.bias->columns];
        for (std::size_t j = run_[r].begin; j < end; j++) scores[j] += offset;
      }
    }
  }

  // keys: of the block. What lies behind them, up to whole registers, is worked on as keys that nobody sees.
  template <std::size_t N>
  void tile_of_queries(const std::size_t* tile, std::size_t begin, std::size_t keys) {
    const std::size_t lanes = (keys + S::kLanes - 1) / S::kLanes * S::kLanes;
    std::size_t j = 0;
    for (; j + S::kRegisterTile * S::kLanes <= lanes; j += S::kRegisterTile * S::kLanes) score<N, S::kRegisterTile>(tile, j);
    for (; j < lanes; j += S::kLanes) score<N, 1>(tile, j);
    float factor[N];
    weigh<N>(tile, begin, lanes, factor);
    add_values<N>(tile, factor, keys);
  }

  template <std::size_t N, std::size_t kVectors>
  void score(const std::size_t* tile, std::size_t j0) {
    using V = typename S::Float;
    V acc[N][kVectors];
    for (std::size_t n = 0; n < N; n++)
      for (std::size_t v = 0; v < kVectors; v++) acc[n][v] = S::zero();
    for (std::size_t i = 0; i < dim_; i++) {
      V k[kVectors];
      for (std::size_t v = 0; v < kVectors; v++) k[v] = S::load(keys_ + i * kKeyBlock + j0 + v * S::kLanes);
      for (std::size_t n = 0; n < N; n++) {
        const V q = S::set1(queries_[tile[n]].q[i]);
        for (std::size_t v = 0; v < kVectors; v++) acc[n][v] = S::fma(q, k[v], acc[n][v]);
      }
    }
    for (std::size_t n = 0; n < N; n++)
      for (std::size_t v = 0; v < kVectors; v++)
        S::store(scores_ + n * kKeyBlock + j0 + v * S::kLanes, S::mul(acc[n][v], S::set1(a_.scale)));
  }

  // Results lie far apart and were written long ago: asked for before the last block of keys, they are there after it.
  void fetch_for_writing(const float* y) const {
    constexpr std::size_t kLineFloats = 16;
    for (std::size_t i = 0; i < dim_; i += kLineFloats) __builtin_prefetch(y + i, 1);
  }

  // Scores to weights e^(s - maximum), in place; gives the factors for what was summed before.
  template <std::size_t N>
  void weigh(const std::size_t* tile, std::size_t begin, std::size_t lanes, float* factor) {
    using V = typename S::Float;
    constexpr float kNothing = -std::numeric_limits<float>::infinity();
    constexpr std::size_t kFactors = (N + S::kLanes - 1) / S::kLanes * S::kLanes;
    float reference[N], fall[kFactors] = {};  // fall: of the old maximum below the new one
    for (std::size_t n = 0; n < N; n++) {
      Query& query = queries_[tile[n]];
      float* scores = scores_ + n * kKeyBlock;
      if (query.by_distance) add_bias(query, scores, begin, lanes);
      for (std::size_t j = query.visible - begin; j < lanes; j++) scores[j] = kNothing;
      V largest = S::load(scores);
      for (std::size_t j = S::kLanes; j < lanes; j += S::kLanes) largest = S::max(largest, S::load(scores + j));
      const float maximum = std::max(query.maximum, S::largest(largest));
      reference[n] = maximum == kNothing ? 0 : maximum;  // all keys at -infinity: no NaN from inf - inf
      fall[n] = query.maximum - reference[n];
      query.maximum = maximum;
    }
    for (std::size_t n = 0; n < kFactors; n += S::kLanes) S::store(fall + n, exp_lanes<S>(S::load(fall + n)));
    for (std::size_t n = 0; n < N; n++) {
      Query& query = queries_[tile[n]];
      float* scores = scores_ + n * kKeyBlock;
      V sum = S::zero();
      for (std::size_t j = 0; j < lanes; j += S::kLanes) {
        const V p = exp_lanes<S>(S::sub(S::load(scores + j), S::set1(reference[n])));
        S::store(scores + j, p);
        sum = S::add(sum, p);
      }
      query.sum = query.sum * fall[n] + S::sum(sum);
      factor[n] = fall[n];
    }
  }

  template <std::size_t N>
  void add_values(const std::size_t* tile, const float* factor, std::size_t keys) {
    constexpr std::size_t kVectors = S::kRegisterTile;
    std::size_t i = 0;
    for (; i + kVectors * S::kLanes <= padded_; i += kVectors * S::kLanes) add_columns<N, kVectors>(tile, factor, keys, i);
    for (; i < padded_; i += S::kLanes) add_columns<N, 1>(tile, factor, keys, i);
  }

  template <std::size_t N, std::size_t kVectors>
  void add_columns(const std::size_t* tile, const float* factor, std::size_t keys, std::size_t i) {
    using V = typename S::Float;
    V acc[N][kVectors];
    for (std::size_t n = 0; n < N; n++)
      for (std::size_t v = 0; v < kVectors; v++)
        acc[n][v] = S::mul(S::load(sums_ + tile[n] * padded_ + i + v * S::kLanes), S::set1(factor[n]));
    for (std::size_t j = 0; j < keys; j++) {
      V value[kVectors];
      for (std::size_t v = 0; v < kVectors; v++) value[v] = S::load(values_ + j * padded_ + i + v * S::kLanes);
      for (std::size_t n = 0; n < N; n++) {
        const V p = S::set1(scores_[n * kKeyBlock + j]);
        for (std::size_t v = 0; v < kVectors; v++) acc[n][v] = S::fma(p, value[v], acc[n][v]);
      }
    }
    for (std::size_t n = 0; n < N; n++)
      for (std::size_t v = 0; v < kVectors; v++) S::store(sums_ + tile[n] * padded_ + i + v * S::kLanes, acc[n][v]);
  }

  void finish(const Query& query, const float* sums) {
    const float reciprocal = query.sum > 0 ? 1 / query.sum : 0;
    for (std::size_t i = 0; i < dim_; i++) query.y[i] = sums[i] * reciprocal;
  }

  const AttentionArgs& a_;
  const KvLanes<S, type> rows_;
  const std::size_t group_, dim_, padded_, row_bytes_;
  float *keys_, *values_, *sums_, *scores_;
  Query queries_[kQueryBlock];
  std::size_t offsets_[kKeyBlock + kAhead];  // of the block's keys and the next ones from the cache's begin
  struct Run {
    std::size_t begin;
    std::uint8_t segment;
  };
  Run run_[kKeyBlock];  // of the block's keys: where those of one segment begin
  std::size_t runs_ = 0;
  const bool fetch_ahead_ = needs_software_prefetch();
  const std::size_t rows_a_square_ = (S::kLanes * S::kLanes + dim_ - 1) / dim_;  // to be asked for while one of keys is turned
};

template <class S>
void attention_over_lanes(const AttentionArgs& args) {
  switch (args.type) {
    case KvType::f32:
      return AttentionLanes<S, KvType::f32>(args).run();
    case KvType::f16:
      return AttentionLanes<S, KvType::f16>(args).run();
    case KvType::q8:
      return AttentionLanes<S, KvType::q8>(args).run();
  }
}

}  // namespace
}  // namespace leafcutter::kernels
