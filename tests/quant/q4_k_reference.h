// llama.cpp's Q4_K (4.5 bits a weight) written anew from its description, in double, as the measure for our q4: not fast, not for use.
//
// A super-block is 8 blocks of 32 weights; weight = d scale code - m minimum, with codes of 4 bits, scales and minima of 6 bits a block and
// halves d, m of the super-block. The quantizer without an importance matrix: for each block, 21 scales around the range's are tried, each
// refitted by least squares for its codes; every error counts by |x| + rms(x).
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

#include "base/half.h"

namespace leafcutter::quant::test {

enum class Q4KWeighting { as_llama_cpp, none };  // none: the plain squares, what an error in RMS would want

struct Q4KBlock {
  double scale = 0, minimum = 0;  // weight = scale code - minimum, both >= 0
};

inline double q4_k_code(double x, Q4KBlock block) {
  return block.scale > 0 ? std::clamp(std::nearbyint((x + block.minimum) / block.scale), 0.0, 15.0) : 0.0;
}

inline Q4KBlock q4_k_search(const float* x, Q4KWeighting weighting) {
  constexpr std::size_t kBlock = 32;
  std::array<double, kBlock> weights;
  double squares = 0, low = 0, high = x[0];  // zero is always in the range: minima are not negative
  for (std::size_t i = 0; i < kBlock; i++) {
    squares += double{x[i]} * x[i];
    low = std::min(low, double{x[i]});
    high = std::max(high, double{x[i]});
  }
  if (high <= low) return {0, -low};
  for (std::size_t i = 0; i < kBlock; i++)
    weights[i] = weighting == Q4KWeighting::none ? 1.0 : std::sqrt(squares / kBlock) + std::fabs(x[i]);

  Q4KBlock best;
  double least = INFINITY;
  const auto judge = [&](Q4KBlock block, const std::array<double, kBlock>& codes) {
    double error = 0;
    for (std::size_t i = 0; i < kBlock; i++) {
      const double difference = block.scale * codes[i] - block.minimum - x[i];
      error += weights[i] * difference * difference;
    }
    if (error < least) {
      least = error;
      best = block;
    }
  };
  const auto codes_of = [&](double inverse) {
    std::array<double, kBlock> codes;
    for (std::size_t i = 0; i < kBlock; i++) codes[i] = std::clamp(std::nearbyint(inverse * (x[i] - low)), 0.0, 15.0);
    return codes;
  };
  judge({(high - low) / 15, -low}, codes_of(15 / (high - low)));
  for (int step = 0; step <= 20; step++) {
    const std::array<double, kBlock> codes = codes_of((15 - 1 + 0.1 * step) / (high - low));
    double w = 0, wq = 0, wqq = 0, wx = 0, wqx = 0;
    for (std::size_t i = 0; i < kBlock; i++) {
      w += weights[i];
      wq += weights[i] * codes[i];
      wqq += weights[i] * codes[i] * codes[i];
      wx += weights[i] * x[i];
      wqx += weights[i] * codes[i] * x[i];
    }
    const double determinant = w * wqq - wq * wq;
    if (determinant <= 0) continue;
    Q4KBlock block{(w * wqx - wx * wq) / determinant, -(wqq * wx - wq * wqx) / determinant};
    if (block.minimum < 0) block = {wqx / wqq, 0};
    judge(block, codes);
  }
  return best;
}

// 256 weights as Q4_K gives them back.
inline void q4_k_round_trip(const float* x, float* out, Q4KWeighting weighting = Q4KWeighting::as_llama_cpp) {
  std::array<Q4KBlock, 8> found;
  double largest_scale = 0, largest_minimum = 0;
  for (std::size_t b = 0; b < 8; b++) {
    found[b] = q4_k_search(x + 32 * b, weighting);
    largest_scale = std::max(largest_scale, found[b].scale);
    largest_minimum = std::max(largest_minimum, found[b].minimum);
  }
  const auto six_bits = [](double v, double largest) { return largest > 0 ? std::min(63.0, std::nearbyint(63 * v / largest)) : 0.0; };
  const double d = float_from_half(half_from_float(static_cast<float>(largest_scale / 63)));
  const double m = float_from_half(half_from_float(static_cast<float>(largest_minimum / 63)));
  for (std::size_t b = 0; b < 8; b++) {
    const Q4KBlock stored{d * six_bits(found[b].scale, largest_scale), m * six_bits(found[b].minimum, largest_minimum)};
    for (std::size_t i = 32 * b; i < 32 * b + 32; i++) out[i] = static_cast<float>(stored.scale * q4_k_code(x[i], stored) - stored.minimum);
  }
}

}  // namespace leafcutter::quant::test
