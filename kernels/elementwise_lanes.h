// The small row operations over the lanes of a Simd. Every element goes through the same operations wherever it lies: ends that fill no register are loaded in part, not done by other code.
#pragma once

#include <cmath>

#include "kernels/elementwise.h"
#include "kernels/exp_lanes.h"

namespace leafcutter::kernels {
namespace {

template <class S>
void rms_norm_lanes(const RmsNormArgs& a) {
  using V = typename S::Float;
  constexpr std::size_t kChains = 4;  // hides the latency of fma; the order of the sum depends on width alone
  for (std::size_t r = 0; r < a.rows; r++) {
    const float* x = a.x + r * a.x_stride;
    float* y = a.y + r * a.y_stride;
    V sums[kChains] = {S::zero(), S::zero(), S::zero(), S::zero()};
    std::size_t i = 0;
    for (; i + kChains * S::kLanes <= a.width; i += kChains * S::kLanes)
      for (std::size_t c = 0; c < kChains; c++) {
        const V v = S::load(x + i + c * S::kLanes);
        sums[c] = S::fma(v, v, sums[c]);
      }
    for (; i + S::kLanes <= a.width; i += S::kLanes) {
      const V v = S::load(x + i);
      sums[0] = S::fma(v, v, sums[0]);
    }
    if (i < a.width) {
      const V v = S::load_part(x + i, a.width - i);
      sums[1] = S::fma(v, v, sums[1]);
    }
    const float total = S::sum(S::add(S::add(sums[0], sums[1]), S::add(sums[2], sums[3])));
    const V scale = S::set1(1 / std::sqrt(total / static_cast<float>(a.width) + a.epsilon));
    i = 0;
    for (; i + S::kLanes <= a.width; i += S::kLanes) S::store(y + i, S::mul(S::mul(S::load(x + i), scale), S::load(a.weight + i)));
    if (i < a.width) {
      const std::size_t n = a.width - i;
      S::store_part(y + i, S::mul(S::mul(S::load_part(x + i, n), scale), S::load_part(a.weight + i, n)), n);
    }
  }
}

template <class S>
typename S::Float silu_lanes(typename S::Float x) {
  const auto one = S::set1(1.0f);
  return S::div(x, S::add(one, exp_lanes<S>(S::sub(S::zero(), x))));
}

// 0.5 x (1 + tanh(u)) = x / (1 + e^(-2u)), u = sqrt(2/pi) (x + 0.044715 x^3)
template <class S>
typename S::Float gelu_tanh_lanes(typename S::Float x) {
  const auto cube = S::mul(S::mul(x, x), x);
  const auto u = S::mul(S::set1(0.7978845608f), S::fma(S::set1(0.044715f), cube, x));
  return S::div(x, S::add(S::set1(1.0f), exp_lanes<S>(S::mul(S::set1(-2.0f), u))));
}

// x (1 - Q(x)), Q(x) = erfc(x / sqrt 2) / 2 the normal distribution's tail; erfc by the exponential of a polynomial in 1 / (1 + z / 2) (Press et al. 1992), relative error 1.2e-7, so that nothing
// cancels on either side.
template <class S>
typename S::Float gelu_erf_lanes(typename S::Float x) {
  constexpr float kCoefficients[] = {-0.82215223f, 1.48851587f, -1.13520398f, 0.27886807f, -0.18628806f,
                                     0.09678418f,  0.37409196f, 1.00002368f,  -1.26551223f};
  const auto one = S::set1(1.0f), zero = S::zero();
  const auto z = S::mul(S::max(x, S::sub(zero, x)), S::set1(0.70710678f));
  const auto t = S::div(one, S::fma(S::set1(0.5f), z, one));
  auto p = S::set1(0.17087277f);
  for (const float c : kCoefficients) p = S::fma(p, t, S::set1(c));
  const auto tail = S::mul(S::mul(S::set1(0.5f), t), exp_lanes<S>(S::sub(p, S::mul(z, z))));
  const auto below = S::add(tail, S::zero_below(S::fma(S::set1(-2.0f), tail, one), x, zero));  // the part of the distribution below x
  return S::mul(x, below);
}

template <class S, class Act>
void gate_with(Act act, float* gate, const float* up, std::size_t n) {
  std::size_t i = 0;
  for (; i + S::kLanes <= n; i += S::kLanes) S::store(gate + i, S::mul(act(S::load(gate + i)), S::load(up + i)));
  if (i < n) S::store_part(gate + i, S::mul(act(S::load_part(gate + i, n - i)), S::load_part(up + i, n - i)), n - i);
}

template <class S>
void gated_activation_lanes(Gate gate, float* values, const float* up, std::size_t n) {
  using V = typename S::Float;
  switch (gate) {
    case Gate::silu:
      return gate_with<S>([](V x) { return silu_lanes<S>(x); }, values, up, n);
    case Gate::gelu_tanh:
      return gate_with<S>([](V x) { return gelu_tanh_lanes<S>(x); }, values, up, n);
    case Gate::gelu_erf:
      return gate_with<S>([](V x) { return gelu_erf_lanes<S>(x); }, values, up, n);
  }
}

template <class S>
void add_in_place_lanes(float* x, const float* y, std::size_t n) {
  std::size_t i = 0;
  for (; i + S::kLanes <= n; i += S::kLanes) S::store(x + i, S::add(S::load(x + i), S::load(y + i)));
  for (; i < n; i++) x[i] += y[i];
}

}  // namespace
}  // namespace leafcutter::kernels
