#include "kernels/attention.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

using namespace leafcutter::kernels;

namespace {

struct Shape {
  std::size_t heads, kv_heads, head_dim, capacity;
};

// How a problem's rows find and see their keys.
enum class Keys { plain, biased, biased_and_scattered };  // scattered: position j lies in a slot of its own, not in slot j

// Two sequences' caches, random queries, one row per entry of `visible`; rows alternate between the caches when there are two. With a bias, keys are of two segments that change within a block, and a
// row may see keys behind its position.
struct Problem {
  Shape shape;
  KvType type;
  std::vector<std::byte> k[2], v[2];
  std::vector<float> q;
  std::vector<AttentionRow> rows;
  static constexpr std::size_t kReach = 100, kSegments = 3;
  std::vector<float> by_distance, across;
  std::vector<std::uint8_t> segments;
  std::vector<std::uint16_t> columns;
  std::vector<std::uint32_t> slots[2];
  AttentionBias bias{};

  Problem(Shape s, KvType t, const std::vector<std::size_t>& visible, std::size_t caches, Keys keys) : shape(s), type(t) {
    std::mt19937 random(static_cast<unsigned>(s.head_dim * 31 + s.capacity));
    std::normal_distribution<float> normal;
    const std::size_t row_bytes = kv_row_bytes(t, s.head_dim);
    std::vector<float> values(s.head_dim);
    for (std::size_t c = 0; c < caches; c++)
      for (auto* cache : {&k[c], &v[c]}) {
        cache->resize(s.kv_heads * s.capacity * row_bytes + 64);
        for (std::size_t i = 0; i < s.kv_heads * s.capacity; i++) {
          for (float& value : values) value = normal(random);
          kv_store_row(t, values.data(), s.head_dim, cache->data() + i * row_bytes);
        }
      }
    q.resize(visible.size() * s.heads * s.head_dim);
    for (float& value : q) value = normal(random);
    if (keys != Keys::plain) make_bias(random);
    for (std::size_t c = 0; c < caches; c++) {
      for (std::size_t j = 0; j < s.capacity; j++) slots[c].push_back(static_cast<std::uint32_t>(j));
      std::shuffle(slots[c].begin(), slots[c].end(), random);
    }
    for (std::size_t r = 0; r < visible.size(); r++) {
      const std::size_t c = r % caches, position = visible[r] - std::min(visible[r], r % 4 * 5 + 1);
      rows.push_back({k[c].data(), v[c].data(), s.capacity * row_bytes, visible[r],
                      keys == Keys::biased_and_scattered ? slots[c].data() : nullptr, segments.data(), position,
                      segments.empty() ? std::uint8_t{0} : segments[position]});
    }
  }

  // Blocks of keys with one segment, with two, whose border lies within a register or between two, and with many short runs.
  static std::uint8_t segment_of(std::size_t key) {
    if (key < 256) return key < 32 ? 0 : key < 200 ? 2 : 1;
    return static_cast<std::uint8_t>(key / 3 % kSegments);
  }

  // Columns in another order than heads and more of them; distances up to 36 have values of their own, those beyond share one.
  void make_bias(std::mt19937& random) {
    std::normal_distribution<float> normal;
    const std::size_t all = shape.heads + 2, stride = 2 * kReach + 1;
    by_distance.resize(all * stride);
    for (std::size_t c = 0; c < all; c++) {
      float* column = by_distance.data() + c * stride;
      for (std::size_t d = 0; d < stride; d++) column[d] = normal(random);
      std::fill(column, column + kBiasMargin, column[kBiasMargin]);
      std::fill(column + stride - kBiasMargin, column + stride, column[stride - kBiasMargin - 1]);
    }
    across.resize(kSegments * kSegments * all);
    for (float& value : across) value = normal(random);
    for (std::size_t j = 0; j < shape.capacity; j++) segments.push_back(segment_of(j));
    for (std::size_t h = 0; h < shape.heads; h++) columns.push_back(static_cast<std::uint16_t>((h * 7 + 3) % all));
    bias = {by_distance.data() + kReach, stride, kReach, across.data(), kSegments, all, columns.data()};
  }

  AttentionArgs args(float* y, float* scratch) const {
    const std::size_t stride = shape.heads * shape.head_dim;
    return {type,
            shape.heads,
            shape.kv_heads,
            shape.head_dim,
            1 / std::sqrt(static_cast<float>(shape.head_dim)),
            q.data(),
            stride,
            rows.data(),
            rows.size(),
            y,
            stride,
            0,
            shape.heads,
            0,
            rows.size(),
            segments.empty() ? nullptr : &bias,
            scratch};
  }

  std::vector<float> run(Attention kernel) const {
    std::vector<float> y(q.size(), NAN), scratch(attention_scratch_floats(shape.head_dim, shape.heads / shape.kv_heads));
    kernel(args(y.data(), scratch.data()));
    return y;
  }

  // Each head group and row by a call of its own.
  std::vector<float> run_in_parts(Attention kernel) const {
    std::vector<float> y(q.size(), NAN), scratch(attention_scratch_floats(shape.head_dim, shape.heads / shape.kv_heads));
    const std::size_t group = shape.heads / shape.kv_heads;
    for (std::size_t h = 0; h < shape.heads; h += group)
      for (std::size_t r = 0; r < rows.size(); r++) {
        AttentionArgs part = args(y.data(), scratch.data());
        part.head_begin = h, part.head_end = h + group, part.row_begin = r, part.row_end = r + 1;
        kernel(part);
      }
    return y;
  }
};

const std::vector<std::size_t> kVisible = {0, 1, 2, 63, 64, 65, 128, 129, 300, 17, 64};

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace

TEST_CASE("attention agrees with the double reference for every KV type, head dimension and group") {
  for (const IsaInfo& isa : isa_table()) {
    if (!isa.here) {
      MESSAGE("skipped, not on this processor: ", isa.name);
      continue;
    }
    for (const KvType type : {KvType::f32, KvType::f16, KvType::q8})
      for (const Shape shape : {Shape{1, 1, 8, 320},
                                {2, 2, 7, 320},
                                {6, 2, 16, 320},
                                {4, 2, 24, 320},
                                {9, 3, 64, 320},
                                {8, 1, 80, 320},
                                {4, 4, 96, 320},
                                {2, 1, 128, 320},
                                {40, 1, 33, 320},
                                {1, 1, 256, 320}})
        for (const Keys keys : {Keys::plain, Keys::biased, Keys::biased_and_scattered}) {
          CAPTURE(isa.name);
          CAPTURE(kv_type_name(type));
          CAPTURE(shape.head_dim);
          const Problem problem(shape, type, kVisible, 1, keys);
          const std::vector<float> got = problem.run(attention_kernel(isa.isa)), want = problem.run(attention_reference);
          float error = 0;
          for (std::size_t i = 0; i < want.size(); i++) error = std::max(error, std::abs(got[i] - want[i]));
          CHECK(error <= 3e-6f);  // values are of order 1
        }
  }
}

TEST_CASE("a row's attention does not depend on the other rows, on the split by heads or on the caches beside it") {
  for (const IsaInfo& isa : isa_table()) {
    if (!isa.here) continue;
    for (const KvType type : {KvType::f32, KvType::f16, KvType::q8})
      for (const Shape shape : {Shape{9, 3, 64, 320},
                                {40, 1, 33, 320},
                                {4, 2, 64, 320},
                                // A row alone has one query for its keys: read as they lie in the cache.
                                {2, 2, 7, 320},
                                {1, 1, 24, 320},
                                {2, 2, 33, 320},
                                {2, 2, 80, 320},
                                {2, 2, 128, 320},
                                {1, 1, 208, 320}})
        for (const std::size_t caches : {1, 2}) {
          CAPTURE(isa.name);
          const Problem problem(shape, type, kVisible, caches, Keys::biased_and_scattered);
          CHECK(same_bits(problem.run(attention_kernel(isa.isa)), problem.run_in_parts(attention_kernel(isa.isa))));
        }
  }
}

TEST_CASE("more rows than share a turned block of keys give what each gives alone") {
  std::vector<std::size_t> visible(150, 310);  // a context: all see all of it
  for (std::size_t r = 0; r < 150; r++) visible.push_back(r + 20);
  for (const IsaInfo& isa : isa_table()) {
    if (!isa.here) continue;
    CAPTURE(isa.name);
    for (const Shape shape : {Shape{1, 1, 40, 320}, {6, 2, 64, 320}}) {
      const Problem problem(shape, KvType::f16, visible, 1, Keys::biased);
      CHECK(same_bits(problem.run(attention_kernel(isa.isa)), problem.run_in_parts(attention_kernel(isa.isa))));
    }
  }
}

TEST_CASE("what lies behind the visible keys does not matter") {
  for (const IsaInfo& isa : isa_table()) {
    if (!isa.here) continue;
    Problem problem({4, 2, 32, 320}, KvType::f32, {70}, 1, Keys::plain);
    const std::vector<float> before = problem.run(attention_kernel(isa.isa));
    const std::size_t row_bytes = kv_row_bytes(KvType::f32, 32);
    for (std::size_t head = 0; head < 2; head++)
      for (std::size_t j = 70; j < 320; j++) {
        std::memset(problem.k[0].data() + (head * 320 + j) * row_bytes, 0xff, row_bytes);  // NaN
        std::memset(problem.v[0].data() + (head * 320 + j) * row_bytes, 0xff, row_bytes);
      }
    CHECK(same_bits(before, problem.run(attention_kernel(isa.isa))));
  }
}

TEST_CASE("extreme scores give finite weights") {
  for (const IsaInfo& isa : isa_table()) {
    if (!isa.here) continue;
    CAPTURE(isa.name);
    Problem problem({1, 1, 8, 128}, KvType::f32, {100}, 1, Keys::biased);
    std::fill(problem.segments.begin(), problem.segments.end(), std::uint8_t{1});
    problem.segments[37] = 2;
    problem.rows[0].segment = 2;
    std::fill(problem.by_distance.begin(), problem.by_distance.end(), 0.0f);
    std::fill(problem.across.begin(), problem.across.end(), -1e30f);
    const std::vector<float> got = problem.run(attention_kernel(isa.isa));
    for (std::size_t i = 0; i < 8; i++) {
      float value;
      std::memcpy(&value, problem.v[0].data() + (37 * 8 + i) * sizeof(float), sizeof value);
      CHECK(got[i] == doctest::Approx(value));
    }
    for (auto* values : {&problem.by_distance, &problem.across})
      std::fill(values->begin(), values->end(), -std::numeric_limits<float>::infinity());
    for (const float v : problem.run(attention_kernel(isa.isa))) CHECK(v == 0);
  }
}
