#include <cstring>
#include <limits>

#include "kernels/activation_rows.h"
#include "tests/kernels/cuda/emulated.h"

using namespace leafcutter::gpu;
using namespace leafcutter::kernels;

namespace {

std::vector<ActivationGroup> on_card(const std::vector<float>& x, std::size_t rows, std::size_t k, std::size_t stride,
                                     const emulation::Options& order) {
  std::vector<ActivationGroup> groups(activation_groups(k) * rows);
  std::memset(static_cast<void*>(groups.data()), 0x55, groups.size() * sizeof(ActivationGroup));
  QuantizeRowsLaunch launch;
  launch.x = address_of(x);
  launch.groups = address_of(groups);
  launch.rows = rows;
  launch.k = k;
  launch.x_stride = stride;
  run_emulated(launch, order);
  return groups;
}

}  // namespace

TEST_CASE("quantized rows on a card are the records of the processor, bit for bit, on every tail") {
  for (const std::size_t k : {1, 31, 32, 33, 63, 64, 65, 255, 256, 257, 576, 4096})
    for (const std::size_t rows : {1, 2, 7}) {
      CAPTURE(k);
      CAPTURE(rows);
      const std::size_t stride = k + 3;
      auto x = random_floats(rows * stride, 1, 2.5f);
      for (std::size_t i = 0; i < x.size(); i += 5) x[i] = static_cast<float>(static_cast<int>(i % 11) - 5) * 0.5f;  // ties
      if (k >= 32) std::fill(x.begin(), x.begin() + 32, 0.0f);
      std::vector<ActivationGroup> want(activation_groups(k) * rows);
      quantize_rows_portable({x.data(), stride, rows, k, 0, rows, want.data()});
      for (const auto& order : kThreadOrders) {
        const auto got = on_card(x, rows, k, stride, order);
        REQUIRE(std::memcmp(got.data(), want.data(), want.size() * sizeof(ActivationGroup)) == 0);
      }
    }
}

TEST_CASE("values that are not finite or huge give records that are safe on a card") {
  std::vector<float> x(64, 1.0f);
  x[3] = std::numeric_limits<float>::infinity();
  x[40] = 2e38f;
  const auto groups = on_card(x, 1, 64, 64, kThreadOrders[0]);
  for (const auto& group : groups) {
    CHECK(group.scale == 0);
    CHECK(group.sum == 0);
    CHECK(group.reserved == 0);
  }
}
