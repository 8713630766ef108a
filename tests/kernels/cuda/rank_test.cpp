#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "kernels/elementwise.h"
#include "tests/kernels/cuda/emulated.h"
#include "tests/support/expect_error.h"

using namespace leafcutter::gpu;
using namespace leafcutter::kernels;

namespace {

RankLaunch launch_of(const std::vector<float>& x, const std::vector<Ranked>& best, std::size_t rows, std::size_t width, std::size_t k) {
  RankLaunch a;
  a.x = address_of(x);
  a.best = address_of(best);
  a.rows = rows;
  a.width = width;
  a.x_stride = x.size() / rows;
  a.k = k;
  return a;
}

void check_against_host(const std::vector<float>& x, std::size_t rows, std::size_t width, std::size_t k) {
  CAPTURE(width);
  CAPTURE(k);
  for (const auto& order : kThreadOrders) {
    std::vector<Ranked> got(rows * k + 1, Ranked{77, 77});
    run_emulated(launch_of(x, got, rows, width, k), order);
    for (std::size_t r = 0; r < rows; r++) {
      std::vector<Ranked> want(k);
      REQUIRE(top_k(std::span(x).subspan(r * (x.size() / rows), width), want) == k);
      for (std::size_t i = 0; i < k; i++) {
        CHECK(got[r * k + i].index == want[i].index);
        CHECK(std::bit_cast<std::uint32_t>(got[r * k + i].value) == std::bit_cast<std::uint32_t>(want[i].value));
      }
    }
    CHECK(got.back().index == 77);
  }
}

}  // namespace

TEST_CASE("rank on a card gives what the host's top_k does, on every tail") {
  for (const std::size_t width : {1, 31, 1023, 1024, 1025, 8192, 8193, 30000})
    for (const std::size_t k : {1, 5})
      if (k <= width) check_against_host(random_floats(2 * (width + 3), static_cast<unsigned>(width)), 2, width, k);
  check_against_host(random_floats(2100, 4), 1, 2100, 40);
  check_against_host(random_floats(36, 5), 1, 36, 36);
}

TEST_CASE("rank on a card: equal values, NaN, infinities, zeros of both signs, and the best all of one thread") {
  check_against_host(std::vector<float>(5000, 1.5f), 1, 5000, 9);
  std::vector<float> x(5000, NAN);
  check_against_host(x, 1, 5000, 3);
  const float infinity = std::numeric_limits<float>::infinity();
  for (std::size_t i = 0; i < x.size(); i += 7) x[i] = i % 3 == 0 ? -infinity : i % 3 == 1 ? 0.0f : -0.0f;
  x[4000] = infinity;
  x[17] = -1e-40f;
  check_against_host(x, 1, 5000, 12);
  check_against_host(x, 1, 5000, 1);
  std::vector<float> column(20000, 0.0f);
  for (std::size_t i = 700; i < column.size(); i += 1024) column[i] = static_cast<float>(1 + i % 11);
  check_against_host(column, 1, 20000, 12);
}

TEST_CASE("rank on a card: launches") {
  RankLaunch a;
  a.rows = 3;
  a.width = 100;
  CHECK(launch_shape(DeviceKernel::rank, &a).empty());
  a.k = 100;
  CHECK(launch_shape(DeviceKernel::rank, &a).grid[0] == 3);
  a.k = 101;
  leafcutter::test::expect_error([&] { launch_shape(DeviceKernel::rank, &a); }, {"lc_rank: expected", "found 101 of 100"});
}
