#include "kernels/rope.h"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

using namespace leafcutter::kernels;

TEST_CASE("angles are those of the fp32 product, beyond a million positions too") {
  std::vector<float> frequency;
  for (int i = 0; i < 64; i++) frequency.push_back(std::pow(10000.0f, -static_cast<float>(i) / 64));
  std::vector<float> cos(64), sin(64);
  for (const std::uint64_t position : {0ull, 1ull, 4095ull, (1ull << 20) + 7, 16'000'000ull}) {
    rope_angles(position, frequency, 1.5f, cos.data(), sin.data());
    for (std::size_t i = 0; i < 64; i++) {
      const double angle = static_cast<float>(position) * frequency[i];
      REQUIRE(std::abs(cos[i] - 1.5 * std::cos(angle)) < 3e-7);
      REQUIRE(std::abs(sin[i] - 1.5 * std::sin(angle)) < 3e-7);
    }
  }
}

TEST_CASE("pairs (i, i + half) are turned, the rest of the head stays") {
  const float cos[] = {0, 1}, sin[] = {1, 0};  // pair 0 by a quarter, pair 1 not at all
  float x[] = {1, 2, 3, 4, 5, 6, 10, 20, 30, 40, 50, 60};
  rope_apply(x, 2, 6, 2, cos, sin);
  const float want[] = {-3, 2, 1, 4, 5, 6, -30, 20, 10, 40, 50, 60};
  for (int i = 0; i < 12; i++) CHECK(x[i] == want[i]);
}
