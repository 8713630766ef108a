#include "base/half.h"

#include <doctest/doctest.h>
#include <immintrin.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

using namespace leafcutter;

TEST_CASE("every half becomes a float and the same half again") {
  for (std::uint32_t h = 0; h < 0x10000; h++) {
    const float f = float_from_half(static_cast<std::uint16_t>(h));
    if (std::isnan(f)) {
      CHECK(std::isnan(float_from_half(half_from_float(f))));
      continue;
    }
    REQUIRE(half_from_float(f) == h);
    const int exponent = (h >> 10) & 31, mantissa = h & 1023;
    if (exponent == 31) continue;
    const double want = (h & 0x8000 ? -1.0 : 1.0) * (exponent ? std::ldexp(1024 + mantissa, exponent - 25) : std::ldexp(mantissa, -24));
    REQUIRE(static_cast<double>(f) == want);
  }
}

TEST_CASE("floats between two halves go to the nearest, ties to even") {
  for (std::uint32_t h = 0; h < 0x7bff; h++) {
    const float low = float_from_half(static_cast<std::uint16_t>(h)), high = float_from_half(static_cast<std::uint16_t>(h + 1));
    const float middle = static_cast<float>((static_cast<double>(low) + high) / 2);
    REQUIRE(half_from_float(middle) == (h & 1 ? h + 1 : h));
    REQUIRE(half_from_float(std::nextafter(middle, 0.0f)) == h);
    REQUIRE(half_from_float(std::nextafter(middle, 1e9f)) == h + 1);
  }
  CHECK(half_from_float(65519.9f) == 0x7bff);
  CHECK(half_from_float(65520.0f) == 0x7c00);
  CHECK(half_from_float(-std::numeric_limits<float>::infinity()) == 0xfc00);
}

TEST_CASE("bfloat16 rounds to nearest even and keeps NaN") {
  CHECK(float_from_bf16(0x3f80) == 1.0f);
  CHECK(bf16_from_float(1.0f + 0x1p-8f) == 0x3f80);      // a tie, to even
  CHECK(bf16_from_float(1.0f + 3 * 0x1p-8f) == 0x3f82);  // a tie, to even
  CHECK(bf16_from_float(1.0f + 0x1.01p-8f) == 0x3f81);   // above the middle
  CHECK(std::isnan(float_from_bf16(bf16_from_float(std::numeric_limits<float>::quiet_NaN()))));
}
