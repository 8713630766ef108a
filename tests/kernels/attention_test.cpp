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

// Two sequences' caches, random queries, one row per entry of `visible`; rows alternate between the caches when there are two.
struct Problem {
  Shape shape;
  KvType type;
  std::vector<std::byte> k[2], v[2];
  std::vector<float> q, bias;
  std::vector<AttentionRow> rows;

  Problem(Shape s, KvType t, const std::vector<std::size_t>& visible, std::size_t caches, bool with_bias) : shape(s), type(t) {
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
    bias.resize(with_bias ? s.heads * s.capacity : 0);
    for (float& value : bias) value = normal(random);
    for (std::size_t r = 0; r < visible.size(); r++) {
      const std::size_t c = r % caches;
      rows.push_back({k[c].data(), v[c].data(), s.capacity * row_bytes, visible[r], with_bias ? bias.data() : nullptr, s.capacity});
    }
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
        for (const bool bias : {false, true}) {
          CAPTURE(isa.name);
          CAPTURE(kv_type_name(type));
          CAPTURE(shape.head_dim);
          const Problem problem(shape, type, kVisible, 1, bias);
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
      for (const Shape shape : {Shape{9, 3, 64, 320}, {40, 1, 33, 320}, {2, 2, 128, 320}})
        for (const std::size_t caches : {1, 2}) {
          CAPTURE(isa.name);
          const Problem problem(shape, type, kVisible, caches, true);
          CHECK(same_bits(problem.run(attention_kernel(isa.isa)), problem.run_in_parts(attention_kernel(isa.isa))));
        }
  }
}

TEST_CASE("what lies behind the visible keys does not matter") {
  for (const IsaInfo& isa : isa_table()) {
    if (!isa.here) continue;
    Problem problem({4, 2, 32, 320}, KvType::f32, {70}, 1, false);
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
    Problem problem({1, 1, 8, 128}, KvType::f32, {100}, 1, true);
    for (std::size_t j = 0; j < 100; j++) problem.bias[j] = j == 37 ? 0.0f : -1e30f;
    const std::vector<float> got = problem.run(attention_kernel(isa.isa));
    for (std::size_t i = 0; i < 8; i++) {
      float value;
      std::memcpy(&value, problem.v[0].data() + (37 * 8 + i) * sizeof(float), sizeof value);
      CHECK(got[i] == doctest::Approx(value));
    }
    for (float& b : problem.bias) b = -std::numeric_limits<float>::infinity();
    for (const float v : problem.run(attention_kernel(isa.isa))) CHECK(v == 0);
  }
}
