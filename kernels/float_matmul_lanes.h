// Products of float layouts over the lanes of a Simd. A line holds one k of the strip's 16 rows, so that x is broadcast and no sum crosses lanes.
// Four sums over k = 0, 1, 2, 3 mod 4, added at the end: the order of every result, for one row and for many.
#pragma once

#include "base/half.h"
#include "kernels/matmul.h"
#include "kernels/prefetch.h"
#include "kernels/strip_shape.h"

namespace leafcutter::kernels {
namespace {

constexpr std::size_t kSumChains = 4;
constexpr std::size_t kFloatPrefetchBytes = 8192;

template <class S, Layout kLayout>
typename S::Float load_weights(const std::byte* at) {
  if constexpr (kLayout == Layout::f32)
    return S::load(reinterpret_cast<const float*>(at));
  else if constexpr (kLayout == Layout::f16)
    return S::load_half(reinterpret_cast<const std::uint16_t*>(at));
  else
    return S::load_bf16(reinterpret_cast<const std::uint16_t*>(at));
}

template <class S, Layout kLayout, std::size_t R>
void float_tile(const MatmulArgs& a, std::size_t strip, std::size_t row, std::size_t lane) {
  using V = typename S::Float;
  constexpr std::size_t kLine = kStripRows * float_bytes(kLayout);
  const std::byte* line = a.weights + strip * strip_bytes(kLayout, a.k) + lane * float_bytes(kLayout);
  const float* x = a.x + row * a.x_stride;
  V sums[R][kSumChains];
  for (auto& chains : sums)
    for (V& sum : chains) sum = S::zero();
  const bool prefetch = lane == 0 && row == 0 && needs_software_prefetch();  // the first of a strip's tiles reads it from memory
  std::size_t k = 0;
  for (; k + kSumChains <= a.k; k += kSumChains) {
    if (prefetch)
      for (std::size_t at = 0; at < kSumChains * kLine; at += 64) prefetch_first_level(line + kFloatPrefetchBytes + at);
    for (std::size_t c = 0; c < kSumChains; c++, line += kLine) {
      const V w = load_weights<S, kLayout>(line);
      for (std::size_t r = 0; r < R; r++) sums[r][c] = S::fma(w, S::set1(x[r * a.x_stride + k + c]), sums[r][c]);
    }
  }
  for (std::size_t c = 0; k < a.k; k++, c++, line += kLine) {
    const V w = load_weights<S, kLayout>(line);
    for (std::size_t r = 0; r < R; r++) sums[r][c] = S::fma(w, S::set1(x[r * a.x_stride + k]), sums[r][c]);
  }
  for (std::size_t r = 0; r < R; r++) {
    float out[S::kLanes];
    S::store(out, S::add(S::add(sums[r][0], sums[r][1]), S::add(sums[r][2], sums[r][3])));
    for (std::size_t i = 0; i < S::kLanes; i++) {
      const std::size_t o = strip * kStripRows + lane + i;
      if (o < a.outputs) a.y[(row + r) * a.y_stride + o] = a.factor * out[i] + (a.bias ? a.bias[o] : 0);
    }
  }
}

template <class S, Layout kLayout>
void float_matmul_lanes(const MatmulArgs& a) {
  constexpr std::size_t kRows = S::kLanes == 8 ? 2 : 4;  // sums that fit the registers
  for (std::size_t s = 0; s < a.strips; s++)
    for (std::size_t lane = 0; lane < kStripRows; lane += S::kLanes) {
      std::size_t m = 0;
      for (; m + kRows <= a.rows; m += kRows) float_tile<S, kLayout, kRows>(a, s, m, lane);
      for (; m < a.rows; m++) float_tile<S, kLayout, 1>(a, s, m, lane);
    }
}

}  // namespace
}  // namespace leafcutter::kernels
