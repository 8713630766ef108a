#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/elementwise.h"
#include "tests/kernels/cuda/emulated.h"

using namespace leafcutter::gpu;
using namespace leafcutter::kernels;

namespace {

RmsNormLaunch launch_of(const std::vector<float>& x, const std::vector<float>& weight, const std::vector<float>& y, std::size_t rows,
                        std::size_t width, std::size_t stride) {
  RmsNormLaunch launch;
  launch.x = address_of(x);
  launch.weight = address_of(weight);
  launch.y = address_of(y);
  launch.rows = rows;
  launch.width = width;
  launch.x_stride = launch.y_stride = stride;
  launch.epsilon = 1e-6f;
  return launch;
}

}  // namespace

TEST_CASE("rms_norm on a card agrees with the double reference on every tail, in every order of threads") {
  for (const std::size_t width : {1, 7, 31, 32, 33, 255, 256, 257, 511, 576, 4096})
    for (const std::size_t gap : {0, 3}) {
      CAPTURE(width);
      const std::size_t rows = 3, stride = width + gap;
      const auto x = random_floats(rows * stride, 1), weight = random_floats(width, 2);
      std::vector<float> want(x.size(), 7.0f);
      rms_norm_reference({x.data(), weight.data(), want.data(), rows, width, stride, stride, 1e-6f});
      float largest = 0;
      for (const float v : want) largest = std::max(largest, std::abs(v));
      for (const auto& order : kThreadOrders) {
        std::vector<float> got(x.size(), 7.0f);
        run_emulated(launch_of(x, weight, got, rows, width, stride), order);
        for (std::size_t i = 0; i < want.size(); i++) REQUIRE(std::abs(got[i] - want[i]) <= 4e-7f * largest);
      }
    }
}

TEST_CASE("rms_norm on a card gives a row the same bits alone, among others and in place") {
  const std::size_t rows = 5, width = 577;
  const auto x = random_floats(rows * width, 3), weight = random_floats(width, 4);
  std::vector<float> together(x.size());
  run_emulated(launch_of(x, weight, together, rows, width, width), kThreadOrders[0]);
  for (const auto& order : kThreadOrders) {
    auto in_place = x;
    run_emulated(launch_of(in_place, weight, in_place, rows, width, width), order);
    CHECK(std::memcmp(together.data(), in_place.data(), x.size() * sizeof(float)) == 0);
  }
  for (std::size_t r = 0; r < rows; r++) {
    std::vector<float> row(x.begin() + static_cast<std::ptrdiff_t>(r * width), x.begin() + static_cast<std::ptrdiff_t>((r + 1) * width));
    run_emulated(launch_of(row, weight, row, 1, width, width), kThreadOrders[0]);
    CHECK(std::memcmp(&together[r * width], row.data(), width * sizeof(float)) == 0);
  }
}

TEST_CASE("rms_norm without rows launches nothing") {
  RmsNormLaunch launch;
  launch.width = 8;
  CHECK(launch_shape(DeviceKernel::rms_norm, &launch).empty());
}
