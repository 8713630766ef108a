#include "kernels/matmul.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "base/page_buffer.h"
#include "kernels/strip_shape.h"
#include "tests/support/random_strip.h"

using namespace leafcutter;
using namespace leafcutter::kernels;

namespace {

constexpr Layout kLayouts[] = {Layout::f32, Layout::f16,  Layout::bf16, Layout::q8,  Layout::q8row,
                               Layout::q4,  Layout::q8_0, Layout::q4_0, Layout::q4_1};
constexpr std::size_t kWidths[] = {1, 31, 32, 33, 96, 128, 129, 257, 350, 576, 700, 3735};

struct Problem {
  Layout layout;
  std::size_t k, outputs, rows, strips, x_stride;
  PageBuffer weights;
  std::vector<float> x, bias;
  std::vector<ActivationGroup> groups;

  Problem(Layout l, std::size_t the_k, std::size_t the_outputs, std::size_t the_rows, unsigned seed)
      : layout(l),
        k(the_k),
        outputs(the_outputs),
        rows(the_rows),
        strips((the_outputs + 15) / 16),
        x_stride(the_k + 3),
        weights(strips * strip_bytes(l, the_k), "test") {
    std::mt19937 random(seed);
    for (std::size_t s = 0; s < strips; s++) random_strip(l, k, random, weights.data() + s * strip_bytes(l, k));
    std::normal_distribution<float> normal;
    x.resize(rows * x_stride);
    for (float& v : x) v = normal(random);
    bias.resize(outputs);
    for (float& v : bias) v = normal(random);
    groups.resize(activation_groups(k) * rows);
    quantize_rows_portable({x.data(), x_stride, rows, k, 0, rows, groups.data()});
  }

  MatmulArgs args(float* y) const {
    return {weights.data(), k, strips, outputs, groups.data(), x.data(), x_stride, rows, 0.5f, bias.data(), y, outputs + 5};
  }
  std::vector<float> empty() const { return std::vector<float>(rows * (outputs + 5), -77.0f); }

  // Row m alone, each strip by a call of its own.
  std::vector<float> one_by_one(Matmul kernel) const {
    std::vector<float> y = empty();
    std::vector<ActivationGroup> row(activation_groups(k));
    for (std::size_t m = 0; m < rows; m++) {
      for (std::size_t g = 0; g < row.size(); g++) row[g] = groups[g * rows + m];
      for (std::size_t s = 0; s < strips; s++) {
        MatmulArgs a = args(y.data() + m * (outputs + 5) + 16 * s);
        a.weights += s * strip_bytes(layout, k);
        a.strips = 1;
        a.outputs = std::min<std::size_t>(16, outputs - 16 * s);
        a.groups = row.data();
        a.x += m * x_stride;
        a.rows = 1;
        a.bias += 16 * s;
        kernel(a);
      }
    }
    return y;
  }
};

}  // namespace

TEST_CASE("products agree with the double reference for every layout, width and number of rows") {
  for (const IsaInfo& isa : isa_table()) {
    if (!isa.here) {
      MESSAGE("skipped, not on this processor: ", isa.name);
      continue;
    }
    for (const Layout layout : kLayouts)
      for (const std::size_t k : kWidths)
        for (const std::size_t rows : {1, 2, 3, 5, 7, 13}) {
          if (k > 1000 && rows > 2 && rows < 13) continue;
          CAPTURE(isa.name);
          CAPTURE(static_cast<int>(layout));
          CAPTURE(k);
          CAPTURE(rows);
          const Problem problem(layout, k, 37, rows, static_cast<unsigned>(k * 10 + rows));
          std::vector<float> want = problem.empty(), got = problem.empty();
          matmul_reference(layout, problem.args(want.data()));
          matmul_kernel(layout, isa.isa)(problem.args(got.data()));
          double error = 0, norm = 0;
          for (std::size_t i = 0; i < want.size(); i++) {
            error += (double{got[i]} - want[i]) * (double{got[i]} - want[i]);
            norm += double{want[i]} * want[i];
            if (want[i] == -77.0f) REQUIRE(got[i] == -77.0f);  // what lies between the rows is not written
          }
          REQUIRE(std::sqrt(error / norm) <= 3e-6);
        }
  }
}

TEST_CASE("a product does not depend on the other rows nor on the split by strips, to the bit") {
  for (const IsaInfo& isa : isa_table()) {
    if (!isa.here) continue;
    for (const Layout layout : kLayouts)
      for (const std::size_t k : {33, 576, 700})
        for (const std::size_t rows : {1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 33, 300}) {
          if (isa.isa == Isa::portable && rows > 9) continue;
          CAPTURE(isa.name);
          CAPTURE(static_cast<int>(layout));
          CAPTURE(rows);
          const Problem problem(layout, k, rows > 100 ? 20 : 53, rows, static_cast<unsigned>(k + rows));
          std::vector<float> together = problem.empty();
          matmul_kernel(layout, isa.isa)(problem.args(together.data()));
          const std::vector<float> alone = problem.one_by_one(matmul_kernel(layout, isa.isa));
          REQUIRE(std::memcmp(together.data(), alone.data(), alone.size() * sizeof(float)) == 0);
        }
  }
}

TEST_CASE("no bias and no rows are fine") {
  for (const IsaInfo& isa : isa_table()) {
    if (!isa.here) continue;
    const Problem problem(Layout::q4, 64, 16, 1, 9);
    std::vector<float> with = problem.empty(), without = problem.empty();
    MatmulArgs args = problem.args(with.data());
    matmul_kernel(Layout::q4, isa.isa)(args);
    args.bias = nullptr;
    args.y = without.data();
    matmul_kernel(Layout::q4, isa.isa)(args);
    for (std::size_t o = 0; o < 16; o++) CHECK(without[o] + problem.bias[o] == with[o]);
    args.rows = 0;
    matmul_kernel(Layout::q4, isa.isa)(args);
  }
}

TEST_CASE("a strip's rows are decoded to the bits of the plain code, for every layout and width") {
  std::mt19937 random(5);
  for (const Layout layout : kLayouts)
    for (const std::size_t k : {1, 4, 31, 32, 33, 70, 96, 127, 128, 129, 300, 576}) {
      CAPTURE(static_cast<int>(layout));
      CAPTURE(k);
      std::vector<std::byte> strip(strip_bytes(layout, k));
      random_strip(layout, k, random, strip.data());
      std::vector<float> all(16 * k), row(k + 1, 7.0f);
      decode_strip(layout, strip.data(), k, all.data());
      for (std::size_t r = 0; r < 16; r++) {
        decode_strip_row(layout, strip.data(), k, r, row.data());
        CHECK(std::memcmp(row.data(), all.data() + r * k, k * sizeof(float)) == 0);
        CHECK(row[k] == 7.0f);
      }
    }
}

TEST_CASE("negative scales and codes of zero keep the sign of a zero") {
  for (const Layout layout : kLayouts)
    for (const std::byte every : {std::byte{0x80}, std::byte{0x88}}) {  // small negative floats and halves; codes that mean zero
      std::vector<std::byte> strip(strip_bytes(layout, 64), every);
      std::vector<float> all(16 * 64), row(64);
      decode_strip(layout, strip.data(), 64, all.data());
      decode_strip_row(layout, strip.data(), 64, 3, row.data());
      CAPTURE(static_cast<int>(layout));
      CHECK(std::memcmp(row.data(), all.data() + 3 * 64, 64 * sizeof(float)) == 0);
    }
}

TEST_CASE("unknown layouts have no kernel") {
  for (const IsaInfo& isa : isa_table()) CHECK_FALSE(static_cast<bool>(matmul_kernel(Layout::plain, isa.isa)));
  CHECK(strip_bytes(Layout::plain, 100) == 0);
}
