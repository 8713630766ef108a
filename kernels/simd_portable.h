// One lane of plain C++, with the interface of simd_avx2.h and simd_avx512.h: the kernels that are written once over lanes are compiled with each of the three.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/half.h"

namespace leafcutter::kernels {
namespace {

struct Simd {
  using Float = float;
  using Mask = bool;
  static constexpr std::size_t kLanes = 1;
  static constexpr bool kTurnsHalves = false;
  static constexpr std::size_t kRegisterTile = 4;  // key vectors of one tile of scores

  static Float zero() { return 0; }
  static Float set1(float v) { return v; }
  static Float load(const float* p) { return *p; }
  static void store(float* p, Float v) { *p = v; }
  static Float load_half(const std::uint16_t* p) { return float_from_half(*p); }
  static Float load_bf16(const std::uint16_t* p) { return float_from_bf16(*p); }
  static Float load_int8(const std::int8_t* p) { return static_cast<float>(*p); }
  static Float load_part(const float* p, std::size_t) { return *p; }
  static void store_part(float* p, Float v, std::size_t) { *p = v; }

  static Float add(Float a, Float b) { return a + b; }
  static Float sub(Float a, Float b) { return a - b; }
  static Float mul(Float a, Float b) { return a * b; }
  static Float div(Float a, Float b) { return a / b; }
  static Float fma(Float a, Float b, Float c) { return std::fma(a, b, c); }
  static Float max(Float a, Float b) { return a > b ? a : b; }
  static Float min(Float a, Float b) { return a < b ? a : b; }
  static Float round(Float a) { return std::nearbyint(a); }
  static Float scale_by_power(Float v, Float n) { return std::ldexp(v, static_cast<int>(n)); }  // v * 2^n, n whole, in -126..127
  static Float zero_below(Float v, Float x, Float limit) { return x < limit ? 0 : v; }          // x < limit ? 0 : v
  // Rows of a square of kLanes x kLanes become columns.
  static void turn(Float (&)[kLanes]) {}
  static float sum(Float a) { return a; }
  static float largest(Float a) { return a; }
};

}  // namespace
}  // namespace leafcutter::kernels
