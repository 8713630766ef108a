#include "kernels/elementwise.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

using namespace leafcutter::kernels;

namespace {

std::vector<float> random_floats(std::size_t n, unsigned seed, float scale = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> values(n);
  for (float& v : values) v = normal(random);
  return values;
}

float largest_error(const std::vector<float>& got, const std::vector<float>& want) {
  float error = 0, largest = 0;
  for (std::size_t i = 0; i < want.size(); i++)
    error = std::max(error, std::abs(got[i] - want[i])), largest = std::max(largest, std::abs(want[i]));
  return error / largest;
}

constexpr std::size_t kWidths[] = {1, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 576, 4096, 10240};

}  // namespace

TEST_CASE("rms_norm agrees with the double reference on every tail") {
  for (const IsaInfo& isa : isa_table()) {
    if (!isa.here) {
      MESSAGE("skipped, not on this processor: ", isa.name);
      continue;
    }
    for (const std::size_t width : kWidths) {
      CAPTURE(isa.name);
      CAPTURE(width);
      const std::size_t rows = 3;
      const auto x = random_floats(rows * width, 1), weight = random_floats(width, 2);
      std::vector<float> want(x.size()), got(x.size());
      rms_norm_reference({x.data(), weight.data(), want.data(), rows, width, width, width, 1e-6f});
      rms_norm_kernel(isa.isa)({x.data(), weight.data(), got.data(), rows, width, width, width, 1e-6f});
      CHECK(largest_error(got, want) <= 4e-7f);
    }
  }
}

TEST_CASE("rms_norm of a row does not depend on its neighbours, and works in place") {
  const std::size_t rows = 5, width = 577;
  const auto x = random_floats(rows * width, 3), weight = random_floats(width, 4);
  for (const IsaInfo& isa : isa_table()) {
    if (!isa.here) continue;
    std::vector<float> together(x.size()), alone(x);
    const RmsNorm run = rms_norm_kernel(isa.isa);
    run({x.data(), weight.data(), together.data(), rows, width, width, width, 1e-5f});
    for (std::size_t r = 0; r < rows; r++) run({&alone[r * width], weight.data(), &alone[r * width], 1, width, width, width, 1e-5f});
    CHECK(std::memcmp(together.data(), alone.data(), x.size() * sizeof(float)) == 0);
  }
}

TEST_CASE("gated activations agree with the double reference, near zero and far out") {
  for (const IsaInfo& isa : isa_table()) {
    if (!isa.here) continue;
    for (const Gate gate : {Gate::silu, Gate::gelu_erf, Gate::gelu_tanh})
      for (const float scale : {0.01f, 1.0f, 30.0f}) {
        CAPTURE(isa.name);
        CAPTURE(static_cast<int>(gate));
        auto want = random_floats(1000, 5, scale), got = want;
        const auto up = random_floats(1000, 6);
        gated_activation_reference(gate, want.data(), up.data(), want.size());
        gated_activation_kernel(isa.isa)(gate, got.data(), up.data(), got.size());
        CHECK(largest_error(got, want) <= 1e-6f);
      }
  }
}

TEST_CASE("an element's activation does not depend on where a call begins or ends") {
  const auto values = random_floats(100, 7, 3), up = random_floats(100, 8);
  for (const IsaInfo& isa : isa_table()) {
    if (!isa.here) continue;
    for (const Gate gate : {Gate::silu, Gate::gelu_erf, Gate::gelu_tanh}) {
      auto whole = values, parts = values;
      gated_activation_kernel(isa.isa)(gate, whole.data(), up.data(), 100);
      for (std::size_t at = 0, n = 1; at < 100; at += n, n = std::min<std::size_t>(n + 1, 100 - at))
        gated_activation_kernel(isa.isa)(gate, &parts[at], &up[at], n);
      CHECK(std::memcmp(whole.data(), parts.data(), sizeof(float) * 100) == 0);
    }
  }
}

TEST_CASE("extreme inputs of activations stay what they should be") {
  for (const IsaInfo& isa : isa_table()) {
    if (!isa.here) continue;
    CAPTURE(isa.name);
    for (const Gate gate : {Gate::silu, Gate::gelu_erf, Gate::gelu_tanh}) {
      std::vector<float> x = {-1e4f, -100, 0, 100, 1e4f, 3e8f};
      const std::vector<float> one(x.size(), 1.0f);
      gated_activation_kernel(isa.isa)(gate, x.data(), one.data(), x.size());
      CHECK(std::abs(x[0]) <= 1e-30f);
      CHECK(std::abs(x[1]) <= 1e-30f);
      CHECK(x[2] == 0);
      CHECK(x[3] == doctest::Approx(100));
      CHECK(x[4] == doctest::Approx(1e4));
      CHECK(x[5] == doctest::Approx(3e8));
    }
  }
}

TEST_CASE("add_in_place adds") {
  for (const IsaInfo& isa : isa_table()) {
    if (!isa.here) continue;
    for (const std::size_t width : kWidths) {
      auto x = random_floats(width, 9);
      const auto before = x, y = random_floats(width, 10);
      add_in_place_kernel(isa.isa)(x.data(), y.data(), width);
      for (std::size_t i = 0; i < width; i++) REQUIRE(x[i] == before[i] + y[i]);
    }
  }
}

TEST_CASE("arg_max takes the first of equals and ignores NaN") {
  CHECK(arg_max(std::vector<float>{1, 3, 3, 2}) == 1);
  CHECK(arg_max(std::vector<float>{NAN, -5, NAN}) == 1);
  CHECK(arg_max(std::vector<float>{NAN}) == 0);
  CHECK(arg_max(std::vector<float>{-INFINITY, -1e30f}) == 1);
}

TEST_CASE("log_sum_exp is right for large values and with infinities") {
  CHECK(log_sum_exp(std::vector<float>{1000, 1000}) == doctest::Approx(1000 + std::log(2.0)));
  CHECK(log_sum_exp(std::vector<float>{0, -INFINITY, NAN}) == doctest::Approx(0));
  CHECK(log_sum_exp(std::vector<float>{-INFINITY}) == -INFINITY);
}

TEST_CASE("top_k gives the largest in order, ties by index") {
  const std::vector<float> values = {5, 9, NAN, 9, -1, 7, 5};
  std::vector<Ranked> best(4);
  REQUIRE(top_k(values, best) == 4);
  const std::uint32_t want[] = {1, 3, 5, 0};
  for (int i = 0; i < 4; i++) CHECK(best[static_cast<std::size_t>(i)].index == want[i]);
  std::vector<Ranked> all(20);
  CHECK(top_k(values, all) == 7);
  CHECK(top_k(values, {}) == 0);
  const auto many = random_floats(5000, 11);
  std::vector<Ranked> hundred(100);
  top_k(many, hundred);
  auto sorted = many;
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  for (std::size_t i = 0; i < 100; i++) REQUIRE(hundred[i].value == sorted[i]);
}
