#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "base/error.h"
#include "base/page_buffer.h"
#include "kernels/cuda/product_shape.h"
#include "kernels/matmul.h"
#include "tests/kernels/cuda/emulated.h"
#include "tests/support/random_strip.h"

using namespace leafcutter;
using namespace leafcutter::gpu;
using namespace leafcutter::kernels;

namespace {

constexpr Layout kLayouts[] = {Layout::f32, Layout::f16,  Layout::bf16, Layout::q8,  Layout::q8row,
                               Layout::q4,  Layout::q8_0, Layout::q4_0, Layout::q4_1};
constexpr float kUntouched = -77;

struct Problem {
  Layout layout;
  std::size_t k, outputs, rows, strips, x_stride, y_stride;
  PageBuffer weights;
  std::vector<float> x, bias;
  std::vector<ActivationGroup> groups;

  Problem(Layout l, std::size_t the_k, std::size_t the_outputs, std::size_t the_rows, float scale = 1)
      : layout(l),
        k(the_k),
        outputs(the_outputs),
        rows(the_rows),
        strips((the_outputs + 15) / 16),
        x_stride(the_k + 3),
        y_stride(the_outputs + 5),
        weights(strips * strip_bytes(l, the_k), "test"),
        x(random_floats(the_rows * x_stride, static_cast<unsigned>(the_k + the_rows), scale)),
        bias(random_floats(the_outputs, 2, scale)),
        groups(activation_groups(the_k) * the_rows) {
    std::mt19937 random(static_cast<unsigned>(k * 10 + rows));
    for (std::size_t s = 0; s < strips; s++) random_strip(l, k, random, weights.data() + s * strip_bytes(l, k));
    quantize_rows_portable({x.data(), x_stride, rows, k, 0, rows, groups.data()});
  }

  ProductLaunch launch(const std::vector<float>& y) const {
    ProductLaunch a;
    a.weights = {reinterpret_cast<std::uintptr_t>(weights.data())};
    a.x = address_of(x);
    a.groups = address_of(groups);
    a.bias = address_of(bias);
    a.y = address_of(y);
    a.k = k;
    a.strips = strips;
    a.outputs = outputs;
    a.rows = rows;
    a.x_stride = x_stride;
    a.y_stride = y_stride;
    a.factor = 0.5f;
    a.layout = layout;
    return a;
  }

  std::vector<float> empty() const { return std::vector<float>(rows * y_stride, kUntouched); }

  std::vector<float> want() const {
    std::vector<float> y = empty();
    matmul_reference(layout,
                     {weights.data(), k, strips, outputs, groups.data(), x.data(), x_stride, rows, 0.5f, bias.data(), y.data(), y_stride});
    return y;
  }

  std::vector<float> got(const emulation::Options& order) const {
    std::vector<float> y = empty();
    run_emulated(launch(y), order);
    return y;
  }

  // Some strips and rows of the whole, by a launch of their own.
  void add_part(std::size_t first_strip, std::size_t strip_count, std::size_t first_row, std::size_t row_count,
                std::vector<float>& y) const {
    std::vector<ActivationGroup> part(activation_groups(k) * row_count);
    for (std::size_t g = 0; g < activation_groups(k); g++)
      for (std::size_t m = 0; m < row_count; m++) part[g * row_count + m] = groups[g * rows + first_row + m];
    ProductLaunch a = launch(y);
    a.weights = a.weights + first_strip * strip_bytes(layout, k);
    a.x = a.x + first_row * x_stride * sizeof(float);
    a.groups = address_of(part);
    a.bias = a.bias + 16 * first_strip * sizeof(float);
    a.y = a.y + (first_row * y_stride + 16 * first_strip) * sizeof(float);
    a.strips = strip_count;
    a.outputs = std::min(16 * strip_count, outputs - 16 * first_strip);
    a.rows = row_count;
    run_emulated(a, kThreadOrders[0]);
  }

  std::vector<float> one_by_one() const {
    std::vector<float> y = empty();
    for (std::size_t m = 0; m < rows; m++)
      for (std::size_t s = 0; s < strips; s++) add_part(s, 1, m, 1, y);
    return y;
  }
};

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

void check_close(const std::vector<float>& got, const std::vector<float>& want) {
  double error = 0, norm = 0;
  for (std::size_t i = 0; i < want.size(); i++) {
    if (want[i] == kUntouched) REQUIRE(got[i] == kUntouched);  // what lies between the rows is not written
    error += (double{got[i]} - want[i]) * (double{got[i]} - want[i]);
    norm += double{want[i]} * want[i];
  }
  REQUIRE(std::sqrt(error / norm) <= 1e-6);
}

void check_all_orders(const Problem& problem) {
  CAPTURE(static_cast<int>(problem.layout));
  CAPTURE(problem.k);
  CAPTURE(problem.outputs);
  CAPTURE(problem.rows);
  const std::vector<float> want = problem.want(), first = problem.got(kThreadOrders[0]);
  check_close(first, want);
  for (const auto& order : kThreadOrders) REQUIRE(same_bits(problem.got(order), first));
}

void check_bits(Layout layout, std::size_t k, std::size_t outputs, std::size_t rows) {
  CAPTURE(static_cast<int>(layout));
  CAPTURE(k);
  CAPTURE(rows);
  const Problem problem(layout, k, outputs, rows);
  const std::vector<float> together = problem.got(kThreadOrders[0]);
  REQUIRE(same_bits(together, problem.one_by_one()));
  if (rows < 2) return;
  std::vector<float> halves = problem.empty();
  const std::size_t strips = problem.strips / 2, half = rows / 2;
  problem.add_part(0, strips, 0, half, halves);
  problem.add_part(strips, problem.strips - strips, 0, half, halves);
  problem.add_part(0, strips, half, rows - half, halves);
  problem.add_part(strips, problem.strips - strips, half, rows - half, halves);
  REQUIRE(same_bits(together, halves));
}

}  // namespace

TEST_CASE("products on a card agree with the double reference for every layout, tail and number of rows, in every order of threads") {
  for (const Layout layout : kLayouts)
    for (const std::size_t k : {1, 31, 33, 129, 350, 576, 700})
      for (const std::size_t rows : {1, 2, 3, 7, 9, 18, 33}) {
        if (rows > 2 && k % 2 == 0 && k < 700) continue;
        check_all_orders(Problem(layout, k, 37, rows));
      }
}

TEST_CASE("a row on a card has the same bits alone, among others, and with its strips apart") {
  for (const Layout layout : kLayouts)
    for (const std::size_t rows : {1, 2, 3, 5, 8, 9, 17, 32, 64, 96, 97}) check_bits(layout, 577, 53, rows);
}

TEST_CASE("slow: products on a card with long rows, full tiles and several tiles") {
  for (const Layout layout : kLayouts) {
    for (const std::size_t k : {2, 64, 127, 512, 513, 1535})
      for (const std::size_t rows : {1, 2, 4, 5, 8, 33, 64}) check_all_orders(Problem(layout, k, 48, rows));
    check_all_orders(Problem(layout, 513, 144, 130));
    check_bits(layout, 1025, 144, 65);
    check_bits(layout, 33, 16, 70);
  }
}

TEST_CASE("activations on a card may be of any size, and nothing but zeros") {
  for (const Layout layout : kLayouts)
    for (const std::size_t rows : {1, 40}) {
      for (const float scale : {1e-30f, 1e30f})
        check_close(Problem(layout, 70, 37, rows, scale).got(kThreadOrders[0]), Problem(layout, 70, 37, rows, scale).want());
      const Problem zeros(layout, 70, 37, rows, 0);
      for (const float v : zeros.got(kThreadOrders[0])) REQUIRE((v == 0 || v == kUntouched));
    }
}

TEST_CASE("products on a card without a bias") {
  const Problem problem(Layout::q8, 70, 16, 1);
  std::vector<float> y = problem.empty();
  ProductLaunch a = problem.launch(y);
  a.bias = {};
  run_emulated(a, kThreadOrders[0]);
  const std::vector<float> want = problem.want();
  for (std::size_t o = 0; o < 16; o++) CHECK(std::abs(y[o] + problem.bias[o] - want[o]) < 1e-4f);
}

// As many blocks as there are pieces, and no output is left out: each is computed once.
TEST_CASE("a product's blocks cover every output and row once") {
  for (const std::size_t rows : {1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 63, 64, 65, 128, 129})
    for (const std::size_t outputs : {1, 15, 16, 17, 127, 128, 129, 300}) {
      CAPTURE(rows);
      CAPTURE(outputs);
      const Problem problem(Layout::f32, 1, outputs, rows);
      const std::vector<float> y = problem.empty();
      const ProductLaunch a = problem.launch(y);
      const LaunchShape shape = launch_shape(DeviceKernel::product, &a);
      const bool tile = shape.threads == kTileThreads;
      CHECK(tile == (rows > 16));
      const std::size_t piece = tile ? kTileRows : rows == 1 ? 1 : rows == 2 ? 2 : rows <= 4 ? 4 : 8;
      CHECK(shape.grid[0] == (rows + piece - 1) / piece * ((problem.strips + (tile ? 7 : 0)) / (tile ? 8 : 1)));
      CHECK(shape.grid[1] * shape.grid[2] == 1);
      CHECK(shape.shared_bytes == 0);
      check_close(problem.got(kThreadOrders[0]), problem.want());
    }
}

TEST_CASE("products that cannot be launched say so") {
  ProductLaunch a;
  a.layout = Layout::q4;
  a.k = 32;
  CHECK(launch_shape(DeviceKernel::product, &a).empty());
  a.strips = a.rows = 1;
  CHECK(std::string(launch_shape(DeviceKernel::product, &a).function) == "lc_product_q4_rows1");
  a.rows = 33;
  CHECK(std::string(launch_shape(DeviceKernel::product, &a).function) == "lc_product_q4_tile");
  a.strips = 1ull << 34;
  a.rows = 64 * 8;
  CHECK_THROWS_AS(launch_shape(DeviceKernel::product, &a), Error);
  a.strips = a.rows = 1;
  for (const Layout layout : {Layout::plain, static_cast<Layout>(10)}) {
    a.layout = layout;
    CHECK_THROWS_AS(launch_shape(DeviceKernel::product, &a), Error);
  }
}
