#include "tests/kernels/cuda/emulated.h"

using namespace leafcutter::gpu;
using namespace leafcutter::kernels;

TEST_CASE("rows are fetched on a card to the last word, and nothing between them is touched") {
  for (const std::size_t words : {1, 31, 255, 256, 257, 700})
    for (const std::size_t rows : {1, 3})
      for (const auto& order : kThreadOrders) {
        CAPTURE(words);
        CAPTURE(rows);
        const std::size_t from_stride = words + 2, to_stride = words + 5;
        const auto from = random_floats(rows * from_stride, 1);
        std::vector<float> to(rows * to_stride, -7);
        FetchRowsLaunch a;
        a.from = address_of(from);
        a.to = address_of(to);
        a.rows = rows;
        a.row_bytes = words * sizeof(float);
        a.from_stride = from_stride * sizeof(float);
        a.to_stride = to_stride * sizeof(float);
        run_emulated(a, order);
        for (std::size_t i = 0; i < to.size(); i++) {
          const std::size_t row = i / to_stride, word = i % to_stride;
          REQUIRE(to[i] == (word < words ? from[row * from_stride + word] : -7));
        }
      }
}
