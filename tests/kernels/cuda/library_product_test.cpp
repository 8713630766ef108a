#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "base/half.h"
#include "base/page_buffer.h"
#include "tests/kernels/cuda/emulated.h"
#include "tests/support/random_strip.h"

using namespace leafcutter;
using namespace leafcutter::gpu;
using namespace leafcutter::kernels;

namespace {

constexpr std::uint16_t kUntouched = 0x7bcd;

struct Halved {
  std::vector<std::uint16_t> halves;
  std::vector<float> scales;
};

Halved halved(const std::vector<float>& x, std::size_t rows, std::size_t k, std::size_t stride, const emulation::Options& order) {
  Halved got{std::vector<std::uint16_t>(rows * k + 1, kUntouched), std::vector<float>(rows + 1, -7)};
  HalveRowsLaunch a;
  a.x = address_of(x);
  a.halves = address_of(got.halves);
  a.scales = address_of(got.scales);
  a.rows = rows;
  a.k = k;
  a.x_stride = stride;
  run_emulated(a, order);
  CHECK(got.halves.back() == kUntouched);
  CHECK(got.scales.back() == -7);
  return got;
}

}  // namespace

TEST_CASE("strips become a matrix on a card, to the last line and strip") {
  for (const std::size_t k : {1, 2, 31, 32, 33, 75, 160})
    for (const std::size_t strips : {1, 3, 4, 5, 9}) {
      CAPTURE(k);
      CAPTURE(strips);
      const std::size_t bytes = strip_bytes(Layout::f16, k);
      const PageBuffer weights(strips * bytes, "test");
      std::mt19937 random(1);
      for (std::size_t s = 0; s < strips; s++) random_strip(Layout::f16, k, random, weights.data() + s * bytes);
      for (const auto& order : kThreadOrders) {
        PageBuffer out(strips * 16 * k * 2 + 32, "test");
        std::memset(out.data(), 0x5a, out.size());
        UnpackStripsLaunch a;
        a.weights = {reinterpret_cast<std::uintptr_t>(weights.data())};
        a.out = {reinterpret_cast<std::uintptr_t>(out.data())};
        a.k = k;
        a.strips = strips;
        run_emulated(a, order);
        for (std::size_t i = 0; i < k; i++)
          for (std::size_t s = 0; s < strips; s++)
            REQUIRE(std::memcmp(out.data() + (i * strips + s) * 32, weights.data() + s * bytes + i * 32, 32) == 0);
        CHECK(out.data()[strips * 16 * k * 2] == std::byte{0x5a});
      }
    }
}

TEST_CASE("rows of halves on a card have 11 digits of each row's largest value, whatever its size") {
  for (const std::size_t k : {1, 31, 255, 256, 257, 600})
    for (const auto& order : kThreadOrders) {
      CAPTURE(k);
      const std::size_t rows = 6, stride = k + 2;
      auto x = random_floats(rows * stride, static_cast<unsigned>(k));
      const float sizes[rows] = {1, 3e-39f, 1e-30f, 3e5f, 3e38f / 8, 0};
      for (std::size_t i = 0; i < x.size(); i++) x[i] = std::clamp(x[i], -6.0f, 6.0f) * sizes[i / stride];
      const Halved got = halved(x, rows, k, stride, order);
      for (std::size_t r = 0; r < rows; r++) {
        CAPTURE(r);
        int ignored = 0;
        CHECK(std::frexp(got.scales[r], &ignored) == 0.5f);  // a power of two: no digit is lost by it
        float largest = 0, largest_half = 0;
        for (std::size_t i = 0; i < k; i++) largest = std::max(largest, std::abs(x[r * stride + i]));
        for (std::size_t i = 0; i < k; i++) {
          const float half = float_from_half(got.halves[r * k + i]);
          largest_half = std::max(largest_half, std::abs(half));
          REQUIRE(std::abs(half * got.scales[r] - x[r * stride + i]) <= std::ldexp(largest, -11));
        }
        if (largest > 1e-30f) CHECK((largest_half >= 16384 && largest_half <= 32768));
      }
    }
}

TEST_CASE("what is not finite stays so in rows of halves on a card") {
  std::vector<float> x(300, 2.0f);
  x[7] = std::numeric_limits<float>::infinity();
  x[150 + 20] = std::numeric_limits<float>::quiet_NaN();
  const Halved got = halved(x, 2, 150, 150, kThreadOrders[0]);
  CHECK(float_from_half(got.halves[7]) == std::numeric_limits<float>::infinity());
  CHECK(float_from_half(got.halves[8]) == 2);
  CHECK(got.scales[0] == 1);
  CHECK(std::isnan(float_from_half(got.halves[150 + 20])));
  CHECK(float_from_half(got.halves[150]) * got.scales[1] == 2);
}

TEST_CASE("rows are finished on a card with scale, factor and bias, and nothing beside them is touched") {
  for (const std::size_t outputs : {1, 16, 255, 256, 257})
    for (const bool has_bias : {false, true})
      for (const auto& order : kThreadOrders) {
        CAPTURE(outputs);
        const std::size_t rows = 3, stride = outputs + 2;
        const auto y = random_floats(rows * stride, 1), bias = random_floats(outputs, 2);
        const std::vector<float> scales{0.25f, 1, 4};
        auto got = y;
        FinishRowsLaunch a;
        a.y = address_of(got);
        a.scales = address_of(scales);
        if (has_bias) a.bias = address_of(bias);
        a.rows = rows;
        a.outputs = outputs;
        a.y_stride = stride;
        a.factor = 0.7f;
        run_emulated(a, order);
        for (std::size_t i = 0; i < y.size(); i++) {
          const std::size_t row = i / stride, o = i % stride;
          const float want = o < outputs ? y[i] * (scales[row] * 0.7f) + (has_bias ? bias[o] : 0) : y[i];
          REQUIRE(got[i] == want);
        }
      }
}
