// e^x over the lanes of a Simd, for x <= 88: relative error below 2e-7; 0 below -87 (so for -infinity), where fp32 would need subnormals.
//
// x = n ln 2 + r with |r| <= ln 2 / 2; e^r by a polynomial of degree 6 (near-minimax), then 2^n into the exponent.
#pragma once

namespace leafcutter::kernels {
namespace {

template <class S>
typename S::Float exp_lanes(typename S::Float x) {
  const auto low = S::set1(-87.0f);
  const auto clamped = S::min(S::max(x, low), S::set1(88.0f));
  const auto n = S::round(S::mul(clamped, S::set1(1.44269504f)));
  auto r = S::fma(n, S::set1(-0.693359375f), clamped);  // ln 2 in two parts: the first is exact in few bits
  r = S::fma(n, S::set1(2.12194440e-4f), r);
  auto p = S::set1(1.9875691500e-4f);
  p = S::fma(p, r, S::set1(1.3981999507e-3f));
  p = S::fma(p, r, S::set1(8.3334519073e-3f));
  p = S::fma(p, r, S::set1(4.1665795894e-2f));
  p = S::fma(p, r, S::set1(1.6666665459e-1f));
  p = S::fma(p, r, S::set1(5.0000001201e-1f));
  p = S::fma(p, S::mul(r, r), S::add(r, S::set1(1.0f)));
  return S::zero_below(S::scale_by_power(p, n), x, low);
}

}  // namespace
}  // namespace leafcutter::kernels
