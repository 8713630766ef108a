#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/rope.h"
#include "tests/kernels/cuda/emulated.h"

using namespace leafcutter::gpu;
using namespace leafcutter::kernels;

namespace {

struct Shape {
  std::size_t rows, heads, head_dim, half;
};

}  // namespace

TEST_CASE("rotate on a card agrees with a double reference and has the bits of the processor's, whole heads and parts of them") {
  for (const Shape& s :
       {Shape{1, 1, 2, 1}, Shape{3, 5, 6, 2}, Shape{2, 9, 64, 32}, Shape{4, 3, 96, 48}, Shape{2, 8, 128, 64}, Shape{1, 2, 256, 32}})
    for (const std::size_t gap : {0, 5}) {
      const std::size_t stride = s.heads * s.head_dim + gap;
      const auto before = random_floats(s.rows * stride, 1);
      std::vector<float> cos(s.rows * s.half), sin(cos.size());
      for (std::size_t i = 0; i < cos.size(); i++) {
        cos[i] = static_cast<float>(std::cos(0.1 * static_cast<double>(i)));
        sin[i] = static_cast<float>(std::sin(0.1 * static_cast<double>(i)));
      }
      auto processor = before;
      for (std::size_t r = 0; r < s.rows; r++)
        rope_apply(&processor[r * stride], s.heads, s.head_dim, s.half, &cos[r * s.half], &sin[r * s.half]);
      for (const auto& order : kThreadOrders) {
        auto got = before;
        RotateLaunch launch;
        launch.x = address_of(got);
        launch.cos = address_of(cos);
        launch.sin = address_of(sin);
        launch.rows = s.rows;
        launch.heads = s.heads;
        launch.head_dim = s.head_dim;
        launch.half = s.half;
        launch.x_stride = stride;
        run_emulated(launch, order);
        REQUIRE(std::memcmp(got.data(), processor.data(), got.size() * sizeof(float)) == 0);
        for (std::size_t r = 0; r < s.rows; r++)
          for (std::size_t h = 0; h < s.heads; h++)
            for (std::size_t i = 0; i < s.half; i++) {
              const std::size_t at = r * stride + h * s.head_dim + i;
              const double x = before[at], y = before[at + s.half], c = cos[r * s.half + i], d = sin[r * s.half + i];
              REQUIRE(std::abs(got[at] - (x * c - y * d)) <= 2e-7 * (std::abs(x) + std::abs(y)));
              REQUIRE(std::abs(got[at + s.half] - (y * c + x * d)) <= 2e-7 * (std::abs(x) + std::abs(y)));
            }
      }
    }
}
