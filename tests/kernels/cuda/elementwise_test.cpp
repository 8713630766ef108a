#include "kernels/elementwise.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "tests/kernels/cuda/emulated.h"

using namespace leafcutter::gpu;
using namespace leafcutter::kernels;

namespace {

constexpr std::size_t kCounts[] = {1, 31, 32, 33, 255, 256, 257, 1000};

void run_gate(Gate gate, std::vector<float>& values, const std::vector<float>& up, std::size_t n, const emulation::Options& order) {
  GateLaunch launch;
  launch.values = address_of(values);
  launch.up = address_of(up);
  launch.n = n;
  launch.gate = gate;
  run_emulated(launch, order);
}

}  // namespace

TEST_CASE("gated activations on a card agree with the double reference, near zero and far out, on every tail") {
  for (const auto& order : kThreadOrders)
    for (const Gate gate : {Gate::silu, Gate::gelu_erf, Gate::gelu_tanh})
      for (const float scale : {0.01f, 1.0f, 30.0f})
        for (const std::size_t n : kCounts) {
          CAPTURE(static_cast<int>(gate));
          CAPTURE(n);
          auto want = random_floats(n + 1, 5, scale), got = want;  // the one past the end stays
          const auto up = random_floats(n + 1, 6);
          gated_activation_reference(gate, want.data(), up.data(), n);
          run_gate(gate, got, up, n, order);
          float largest = 0;
          for (std::size_t i = 0; i < n; i++) largest = std::max(largest, std::abs(want[i]));
          for (std::size_t i = 0; i < n; i++) REQUIRE(std::abs(got[i] - want[i]) <= 1e-6f * largest);
          REQUIRE(got[n] == want[n]);
        }
}

TEST_CASE("extreme inputs of activations on a card stay what they should be") {
  for (const Gate gate : {Gate::silu, Gate::gelu_erf, Gate::gelu_tanh}) {
    std::vector<float> x = {-1e4f, -100, 0, 100, 1e4f, 3e8f};
    const std::vector<float> one(x.size(), 1.0f);
    run_gate(gate, x, one, x.size(), kThreadOrders[0]);
    CHECK(std::abs(x[0]) <= 1e-30f);
    CHECK(std::abs(x[1]) <= 1e-30f);
    CHECK(x[2] == 0);
    CHECK(x[3] == doctest::Approx(100));
    CHECK(x[4] == doctest::Approx(1e4));
    CHECK(x[5] == doctest::Approx(3e8));
  }
}

TEST_CASE("add on a card adds, with the bits of the processor's") {
  for (const auto& order : kThreadOrders)
    for (const std::size_t n : kCounts) {
      auto x = random_floats(n + 1, 7), want = x;
      const auto y = random_floats(n + 1, 8);
      for (std::size_t i = 0; i < n; i++) want[i] += y[i];
      AddLaunch launch;
      launch.x = address_of(x);
      launch.y = address_of(y);
      launch.n = n;
      run_emulated(launch, order);
      CHECK(std::memcmp(x.data(), want.data(), x.size() * sizeof(float)) == 0);
    }
}
