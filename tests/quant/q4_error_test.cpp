// The promise behind q4: at the same 4.5 bits a weight its error is not above Q4_K's.
#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "kernels/matmul.h"
#include "quant/format.h"
#include "tests/quant/q4_k_reference.h"

using namespace leafcutter;
using namespace leafcutter::quant;
using leafcutter::quant::test::Q4KWeighting;

namespace {

constexpr std::size_t kRows = 48;

using Matrix = std::vector<float>;  // kRows x k
using MakeMatrix = std::function<Matrix(std::size_t k, std::mt19937& random)>;

// Of the rows as `round_trip` gives them back, relative to the weights' own RMS.
double relative_error(const Matrix& weights, const std::function<void(const float* rows, float* out)>& round_trip16) {
  double error = 0, norm = 0;
  const std::size_t k = weights.size() / kRows;
  std::vector<float> back(16 * k);
  for (std::size_t row = 0; row < kRows; row += 16) {
    round_trip16(&weights[row * k], back.data());
    for (std::size_t i = 0; i < back.size(); i++) {
      const double w = weights[row * k + i];
      error += (back[i] - w) * (back[i] - w);
      norm += w * w;
    }
  }
  return std::sqrt(error / norm);
}

double q4_error(const Matrix& weights) {
  const std::size_t k = weights.size() / kRows;
  const Format& format = format_of(FormatId::q4);
  std::vector<std::byte> strip(kernels::strip_bytes(format.layout, k));
  return relative_error(weights, [&](const float* rows, float* out) {
    format.encode(rows, k, strip.data());
    kernels::decode_strip(format.layout, strip.data(), k, out);
  });
}

double q4_k_error(const Matrix& weights, Q4KWeighting weighting) {
  const std::size_t k = weights.size() / kRows;
  return relative_error(weights, [&](const float* rows, float* out) {
    for (std::size_t i = 0; i < 16 * k; i += 256) test::q4_k_round_trip(rows + i, out + i, weighting);
  });
}

Matrix gaussian(std::size_t k, std::mt19937& random) {
  std::normal_distribution<float> normal(0, 0.02f);
  Matrix weights(kRows * k);
  for (float& w : weights) w = normal(random);
  return weights;
}

// One column in 128 is larger by `factor` in all rows, as channels of activations with outliers make them.
MakeMatrix with_outlier_columns(float factor) {
  return [factor](std::size_t k, std::mt19937& random) {
    Matrix weights = gaussian(k, random);
    for (std::size_t n = 0; n < k / 128; n++) {
      const std::size_t column = random() % k;
      for (std::size_t row = 0; row < kRows; row++) weights[row * k + column] *= factor;
    }
    return weights;
  };
}

Matrix student_t4(std::size_t k, std::mt19937& random) {
  std::student_t_distribution<float> student(4);
  Matrix weights(kRows * k);
  for (float& w : weights) w = 0.02f * student(random);
  return weights;
}

struct Kind {
  const char* name;
  MakeMatrix make;
};

const Kind kKinds[] = {{"Gaussian", gaussian},
                       {"Gaussian, outlier columns x 5", with_outlier_columns(5)},
                       {"Gaussian, outlier columns x 20", with_outlier_columns(20)},
                       {"Student t(4)", student_t4}};

}  // namespace

TEST_CASE("q4 is not further from the weights than Q4_K at the same size") {
  for (const Kind& kind : kKinds)
    for (const std::size_t k : {768, 4096}) {
      std::mt19937 random(static_cast<unsigned>(k));
      const Matrix weights = kind.make(k, random);
      const double ours = q4_error(weights), theirs = q4_k_error(weights, Q4KWeighting::as_llama_cpp);
      const double plain = q4_k_error(weights, Q4KWeighting::none);
      MESSAGE(std::string(kind.name) << ", k " << k << ": q4 " << ours << ", Q4_K " << theirs << ", Q4_K searched for the plain RMS "
                                     << plain);
      CHECK(ours <= theirs);
    }
}

TEST_CASE("the reference is a Q4_K: known sizes of its error, and exact where 4 bits are enough") {
  std::mt19937 random(3);
  const double error = q4_k_error(gaussian(1024, random), Q4KWeighting::as_llama_cpp);
  CHECK(error > 0.06);
  CHECK(error < 0.08);
  std::vector<float> whole(256), back(256);
  for (std::size_t i = 0; i < whole.size(); i++) whole[i] = static_cast<float>(i % 16) - 8;
  test::q4_k_round_trip(whole.data(), back.data());
  for (std::size_t i = 0; i < whole.size(); i++) CHECK(back[i] == doctest::Approx(whole[i]).epsilon(0.002));
}
