#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "kernels/attention.h"
#include "kernels/cuda/attend_shape.h"
#include "tests/kernels/cuda/emulated.h"
#include "tests/support/expect_error.h"

using namespace leafcutter::gpu;
using namespace leafcutter::kernels;

namespace {

struct Row {
  std::size_t sequence, visible;
};

struct Shape {
  std::size_t heads, kv_heads, head_dim;
  KvType type;
  bool biased;
};

// Keys and values of sequences whose positions lie in slots of any order, in a cache whose other slots hold NaN, with random queries. With a bias, keys are of three segments, and a row may see keys behind its
// position.
class Problem {
 public:
  static constexpr std::size_t kReach = 100, kSegments = 3;

  // gap: bytes in front of the cache.
  Problem(const Shape& shape, std::vector<Row> rows, std::size_t gap = 0) : shape_(shape), rows_(std::move(rows)), gap_(gap) {
    std::size_t sequences = 0;
    for (const Row& row : rows_) {
      sequences = std::max(sequences, row.sequence + 1);
      positions_ = std::max(positions_, row.visible);
    }
    const std::size_t row_bytes = kernels_row_bytes();
    capacity_ = sequences * positions_ + 3;
    std::mt19937 random(static_cast<unsigned>(shape.head_dim * 31 + positions_));
    std::vector<std::uint32_t> free(capacity_);
    for (std::size_t i = 0; i < capacity_; i++) free[i] = static_cast<std::uint32_t>(i);
    std::shuffle(free.begin(), free.end(), random);
    slots_.assign(free.begin(), free.begin() + static_cast<std::ptrdiff_t>(sequences * positions_));
    for (auto* cache : {&keys_, &values_})
      cache->assign((gap_ + shape.kv_heads * capacity_ * row_bytes + 15) / 16 * 16 + 16, std::byte{0xff});
    for (std::size_t s = 0; s < sequences; s++)
      for (std::size_t p = 0; p < visible_of(s); p++)
        for (std::size_t head = 0; head < shape.kv_heads; head++) fill(head, s, p, random);
    q_ = random_floats(rows_.size() * shape.heads * shape.head_dim, 7);
    for (std::size_t p = 0; p < sequences * positions_; p++)
      segments_.push_back(static_cast<std::uint8_t>(p % positions_ < 40 ? 0 : p / 3 % kSegments));
    if (shape.biased) make_bias();
    for (std::size_t r = 0; r < rows_.size(); r++) {
      const std::size_t first = rows_[r].sequence * positions_;
      const std::size_t position = rows_[r].visible - std::min(rows_[r].visible, r % 4 * 5 + 1);
      table_.push_back({address_of(slots_) + first * sizeof(std::uint32_t), address_of(segments_) + first, rows_[r].visible, position,
                        segments_[first + position]});
    }
  }

  AttendLaunch launch(const std::vector<float>& y) const {
    AttendLaunch a;
    a.q = address_of(q_);
    a.y = address_of(y);
    a.table = address_of(table_);
    a.lists = address_of(slots_);
    a.list_bytes = slots_.size() * sizeof(std::uint32_t);
    a.keys = address_of(keys_) + gap_;
    a.values = address_of(values_) + gap_;
    if (shape_.biased) {
      a.bias_by_distance = address_of(by_distance_);
      a.bias_across = address_of(across_);
      a.bias_columns = address_of(columns_);
      a.distance_stride = 2 * kReach + 1;
      a.reach = kReach;
      a.segment_types = kSegments;
      a.columns = columns_of_bias();
    }
    a.rows = rows_.size();
    a.heads = shape_.heads;
    a.kv_heads = shape_.kv_heads;
    a.head_dim = shape_.head_dim;
    a.head_stride = capacity_ * kernels_row_bytes();
    a.scale = scale();
    a.type = shape_.type;
    return a;
  }

  std::vector<float> run(const emulation::Options& order) const {
    std::vector<float> y(q_.size(), NAN);
    run_emulated(launch(y), order);
    return y;
  }

  // Row r by a launch of its own.
  std::vector<float> run_alone(std::size_t r) const {
    const std::size_t width = shape_.heads * shape_.head_dim;
    std::vector<float> y(width, NAN);
    AttendLaunch a = launch(y);
    a.q = a.q + r * width * sizeof(float);
    a.table = a.table + r * sizeof(DeviceAttentionRow);
    a.rows = 1;
    run_emulated(a, kThreadOrders[0]);
    return y;
  }

  std::vector<float> reference() const {
    std::vector<float> y(q_.size(), NAN);
    std::vector<AttentionRow> rows;
    for (const DeviceAttentionRow& row : table_)
      rows.push_back({keys_.data() + gap_, values_.data() + gap_, capacity_ * kernels_row_bytes(), static_cast<std::size_t>(row.visible),
                      reinterpret_cast<const std::uint32_t*>(row.slots.value), reinterpret_cast<const std::uint8_t*>(row.segments.value),
                      static_cast<std::size_t>(row.position), row.segment});
    const AttentionBias bias{by_distance_.empty() ? nullptr : by_distance_.data() + kReach,
                             2 * kReach + 1,
                             kReach,
                             across_.data(),
                             kSegments,
                             columns_of_bias(),
                             columns_.data()};
    AttentionArgs args{};
    args.type = shape_.type;
    args.heads = shape_.heads;
    args.kv_heads = shape_.kv_heads;
    args.head_dim = shape_.head_dim;
    args.scale = scale();
    args.q = q_.data();
    args.q_stride = args.y_stride = shape_.heads * shape_.head_dim;
    args.row = rows.data();
    args.rows = args.row_end = rows.size();
    args.y = y.data();
    args.head_end = shape_.heads;
    args.bias = shape_.biased ? &bias : nullptr;
    attention_reference(args);
    return y;
  }

  // Key and value of a position become NaN.
  void spoil(std::size_t sequence, std::size_t position) {
    for (std::size_t head = 0; head < shape_.kv_heads; head++)
      for (auto* cache : {&keys_, &values_}) std::memset(row_at(*cache, head, sequence, position), 0xff, kernels_row_bytes());
  }

  float largest_difference(const std::vector<float>& got, const std::vector<float>& want) const {
    float largest = 0;
    for (std::size_t i = 0; i < want.size(); i++) {
      const float difference = std::abs(got[i] - want[i]);
      largest = difference <= largest ? largest : difference;  // NaN is kept
    }
    return largest;
  }

  std::vector<float> by_distance_, across_;

 private:
  std::size_t kernels_row_bytes() const { return leafcutter::kernels::kv_row_bytes(shape_.type, shape_.head_dim); }
  std::size_t columns_of_bias() const { return shape_.heads + 2; }
  float scale() const { return 1 / std::sqrt(static_cast<float>(shape_.head_dim)); }
  std::size_t visible_of(std::size_t sequence) const {
    std::size_t most = 0;
    for (const Row& row : rows_)
      if (row.sequence == sequence) most = std::max(most, row.visible);
    return most;
  }
  std::byte* row_at(std::vector<std::byte>& cache, std::size_t head, std::size_t sequence, std::size_t position) {
    return cache.data() + gap_ + (head * capacity_ + slots_[sequence * positions_ + position]) * kernels_row_bytes();
  }
  void fill(std::size_t head, std::size_t sequence, std::size_t position, std::mt19937& random) {
    std::normal_distribution<float> normal;
    std::vector<float> values(shape_.head_dim);
    for (auto* cache : {&keys_, &values_}) {
      for (float& v : values) v = normal(random);
      kv_store_row(shape_.type, values.data(), shape_.head_dim, row_at(*cache, head, sequence, position));
    }
  }
  // Columns in another order than heads, and more of them.
  void make_bias() {
    by_distance_ = random_floats(columns_of_bias() * (2 * kReach + 1), 11);
    across_ = random_floats(kSegments * kSegments * columns_of_bias(), 12);
    for (std::size_t h = 0; h < shape_.heads; h++) columns_.push_back(static_cast<std::uint16_t>((h * 7 + 3) % columns_of_bias()));
  }

  Shape shape_;
  std::vector<Row> rows_;
  std::size_t gap_, positions_ = 0, capacity_ = 0;
  std::vector<std::uint32_t> slots_;  // of each sequence, positions_ of them
  std::vector<std::uint8_t> segments_;
  std::vector<std::byte> keys_, values_;
  std::vector<float> q_;
  std::vector<std::uint16_t> columns_;
  std::vector<DeviceAttentionRow> table_;
};

constexpr float kTolerance = 4e-6f;  // values are of order 1

void check_all_orders(const Shape& shape, const std::vector<Row>& rows, std::size_t gap = 0,
                      std::size_t orders = std::size(kThreadOrders)) {
  CAPTURE(shape.heads);
  CAPTURE(shape.kv_heads);
  CAPTURE(shape.head_dim);
  CAPTURE(kv_type_name(shape.type));
  CAPTURE(shape.biased);
  const Problem problem(shape, rows, gap);
  const std::vector<float> want = problem.reference();
  std::vector<float> first;
  for (const auto& order : std::span(kThreadOrders).first(orders)) {
    const std::vector<float> got = problem.run(order);
    CHECK(problem.largest_difference(got, want) <= kTolerance);
    if (first.empty()) first = got;
    CHECK(std::memcmp(first.data(), got.data(), got.size() * sizeof(float)) == 0);
  }
}

constexpr KvType kTypes[] = {KvType::f32, KvType::f16, KvType::q8};

// Consecutive tokens of a prompt, and a row of another sequence among them.
std::vector<Row> prompt_of(std::size_t rows, std::size_t cached) {
  std::vector<Row> all;
  for (std::size_t r = 0; r < rows; r++) all.push_back({0, cached + r + 1});
  all[rows / 2] = {1, 37};
  return all;
}

}  // namespace

TEST_CASE("attend on a card: sizes of rows are those of the KV cache") {
  for (const KvType type : kTypes)
    for (unsigned head_dim = 2; head_dim <= 300; head_dim += 2) {
      CHECK(leafcutter::gpu::kv_row_bytes(type, head_dim) == leafcutter::kernels::kv_row_bytes(type, head_dim));
      CHECK(leafcutter::gpu::kv_row_bytes(type, head_dim) % kv_row_alignment(type, head_dim) == 0);
    }
}

TEST_CASE("attend on a card agrees with the double reference for a row that decodes") {
  for (const KvType type : kTypes)
    for (const std::size_t head_dim : {64, 96, 128, 256, 80})
      for (const bool biased : {false, true})
        for (const std::size_t group : {1, 4}) { check_all_orders({group, 1, head_dim, type, biased}, {{0, group == 1 ? 300u : 65u}}); }
}

TEST_CASE("attend on a card agrees with the double reference for rows of sequences of any length") {
  for (const KvType type : kTypes)
    check_all_orders({2, 2, 64, type, true}, {{0, 1}, {1, 63}, {2, 64}, {3, 65}, {0, 0}, {1, 31}, {2, 32}, {3, 33}});
}

TEST_CASE("attend on a card agrees with the double reference for a prompt") {
  for (const KvType type : kTypes)
    for (const std::size_t group : {1, 3}) check_all_orders({2 * group, 2, 64, type, group == 1}, prompt_of(13, 50));
}

TEST_CASE("attend on a card takes every even head dimension, and rows that lie at multiples of 4") {
  for (const KvType type : kTypes) {
    for (const std::size_t head_dim : {2, 6, 34, 254, 320, 512}) check_all_orders({2, 1, head_dim, type, false}, {{0, 40}});
    check_all_orders({2, 1, 128, type, false}, {{0, 40}}, 4);
  }
}

TEST_CASE("attend on a card gives a row the same bits alone and among others") {
  for (const KvType type : kTypes)
    for (const Shape shape : {Shape{1, 1, 64, type, true}, {3, 1, 96, type, false}, {8, 1, 128, type, false}}) {
      CAPTURE(kv_type_name(type));
      CAPTURE(shape.head_dim);
      std::vector<Row> rows = prompt_of(11, 290);
      rows.push_back({2, 270});
      const Problem problem(shape, rows);
      const std::vector<float> together = problem.run(kThreadOrders[0]);
      const std::size_t width = shape.heads * shape.head_dim;
      for (const std::size_t r : {0, 4, 5, 6, 10, 11}) {
        CAPTURE(r);
        CHECK(std::memcmp(&together[r * width], problem.run_alone(r).data(), width * sizeof(float)) == 0);
      }
    }
}

TEST_CASE("attend on a card: what a row does not see does not matter to it, whatever the others see") {
  Problem problem({1, 1, 64, KvType::f16, false}, prompt_of(12, 40));
  const std::vector<float> before = problem.run(kThreadOrders[0]);
  problem.spoil(0, 50);  // which the rows from the tenth on see
  const std::vector<float> after = problem.run(kThreadOrders[0]);
  CHECK(std::memcmp(before.data(), after.data(), 10 * 64 * sizeof(float)) == 0);
  CHECK(std::isnan(after[11 * 64]));
}

TEST_CASE("attend on a card: extreme scores give finite weights") {
  Problem problem({1, 1, 64, KvType::f32, true}, {{0, 100}});
  const float lowest = -std::numeric_limits<float>::infinity();
  std::fill(problem.by_distance_.begin(), problem.by_distance_.end(), -1e30f);
  std::fill(problem.across_.begin(), problem.across_.end(), lowest);
  CHECK(problem.largest_difference(problem.run(kThreadOrders[0]), problem.reference()) <= kTolerance);
  std::fill(problem.by_distance_.begin(), problem.by_distance_.end(), lowest);
  for (const float v : problem.run(kThreadOrders[0])) CHECK(v == 0);
}

TEST_CASE("attend on a card: launches") {
  AttendLaunch a;
  a.rows = 3;
  a.heads = 32;
  a.kv_heads = 8;
  a.head_dim = 128;
  a.type = KvType::f16;
  const auto shape = [&] { return launch_shape(DeviceKernel::attend, &a); };
  CHECK(std::string(shape().function) == "lc_attend_f16_128_several");
  CHECK(shape().grid[0] == 3);  // rows that have blocks of their own
  CHECK(shape().grid[1] == 8);
  CHECK(shape().grid[2] == 1);
  CHECK(shape().threads == 256);
  a.rows = 101;
  CHECK(shape().grid[0] == 51);  // 404 queries, eight a block
  a.kv_heads = 32;
  CHECK(shape().grid[0] == 13);
  a.rows = 3;
  CHECK(std::string(shape().function) == "lc_attend_f16_128_one");
  CHECK(shape().grid[0] == 3);
  a.head_stride = 8;  // the next KV head's rows are not where the kernel's loads may begin
  CHECK(std::string(shape().function) == "lc_attend_f16_any_one");
  a.head_dim = 1024;
  a.rows = 100;
  CHECK(std::string(shape().function) == "lc_attend_f16_any_one");  // no room for eight queries
  CHECK(shape().grid[2] == 4);
  for (const KvType type : kTypes)
    for (a.head_dim = 2; a.head_dim <= 1024; a.head_dim += 2) {
      a.type = type;
      CHECK(shape().shared_bytes + kAttendOwnBytes <= kMostSharedBytes);
    }
  a.head_dim = 1026;
  leafcutter::test::expect_error([&] { shape(); }, {"attend: expected an even head dimension of at most 1024, found 1026"});
  a.head_dim = 33;
  leafcutter::test::expect_error([&] { shape(); }, {"found 33"});
  a.head_dim = 64;
  a.kv_heads = 5;
  leafcutter::test::expect_error([&] { shape(); }, {"found 32 for 5"});
  a.rows = 0;
  CHECK(shape().empty());
}

TEST_CASE("slow: attend on a card agrees with the double reference for every head dimension, type, bias, length and group") {
  for (const KvType type : kTypes)
    for (const std::size_t head_dim : {64, 96, 128, 256, 200})
      for (const bool biased : {false, true})
        for (const std::size_t group : {1, 4, 8}) {
          check_all_orders({group, 1, head_dim, type, biased}, {{0, 1}, {1, 63}, {2, 64}, {3, 65}, {0, 200}, {1, 1000}});
          // Which heads share keys changes nothing about who waits for whom.
          check_all_orders({group, 1, head_dim, type, biased}, prompt_of(20, 180), 0, group == 4 ? std::size(kThreadOrders) : 1);
        }
}
