#include "kernels/kv_rows.h"

#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <vector>

#include "base/half.h"

using namespace leafcutter;
using namespace leafcutter::kernels;

TEST_CASE("a stored row comes back within its type's precision") {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (const std::size_t dim : {1, 2, 7, 31, 32, 33, 64, 80, 128, 256}) {
    std::vector<float> values(dim), back(dim);
    for (float& v : values) v = normal(random);
    for (const KvType type : {KvType::f32, KvType::f16, KvType::q8}) {
      CAPTURE(dim);
      CAPTURE(kv_type_name(type));
      std::vector<std::byte> row(kv_row_bytes(type, dim) + 1, std::byte{0x5a});
      REQUIRE(kv_row_bytes(type, dim) % 4 == 0);
      kv_store_row(type, values.data(), dim, row.data());
      CHECK(row.back() == std::byte{0x5a});
      kv_load_row(type, row.data(), dim, back.data());
      for (std::size_t i = 0; i < dim; i++) {
        if (type == KvType::f32) REQUIRE(back[i] == values[i]);
        if (type == KvType::f16) REQUIRE(back[i] == float_from_half(half_from_float(values[i])));
        if (type == KvType::q8) {
          float largest = 0;
          for (std::size_t j = i / 32 * 32; j < std::min(dim, i / 32 * 32 + 32); j++) largest = std::max(largest, std::abs(values[j]));
          REQUIRE(std::abs(back[i] - values[i]) <= largest / 127 * 0.5001f);
        }
      }
    }
  }
}

TEST_CASE("rows of zeros and of values that are no numbers do no harm") {
  std::vector<std::byte> row(kv_row_bytes(KvType::q8, 40));
  std::vector<float> values(40), back(40, 1.0f);
  kv_store_row(KvType::q8, values.data(), 40, row.data());
  kv_load_row(KvType::q8, row.data(), 40, back.data());
  for (const float v : back) CHECK(v == 0);
  values[3] = INFINITY;
  values[4] = NAN;
  kv_store_row(KvType::q8, values.data(), 40, row.data());
}
