// Eight lanes of AVX2 with FMA and F16C; see simd_portable.h. Only for *_avx2.cpp.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace leafcutter::kernels {
namespace {

struct Simd {
  using Float = __m256;
  static constexpr std::size_t kLanes = 8;
  static constexpr bool kTurnsHalves = false;
  static constexpr std::size_t kRegisterTile = 2;

  static Float zero() { return _mm256_setzero_ps(); }
  static Float set1(float v) { return _mm256_set1_ps(v); }
  static Float load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, Float v) { _mm256_storeu_ps(p, v); }
  static Float load_half(const std::uint16_t* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
  static Float load_bf16(const std::uint16_t* p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), 16));
  }
  static Float load_int8(const std::int8_t* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }
  static __m256i part(std::size_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static Float load_part(const float* p, std::size_t n) { return _mm256_maskload_ps(p, part(n)); }
  static void store_part(float* p, Float v, std::size_t n) { _mm256_maskstore_ps(p, part(n), v); }

  static Float add(Float a, Float b) { return _mm256_add_ps(a, b); }
  static Float sub(Float a, Float b) { return _mm256_sub_ps(a, b); }
  static Float mul(Float a, Float b) { return _mm256_mul_ps(a, b); }
  static Float div(Float a, Float b) { return _mm256_div_ps(a, b); }
  static Float fma(Float a, Float b, Float c) { return _mm256_fmadd_ps(a, b, c); }
  static Float max(Float a, Float b) { return _mm256_max_ps(a, b); }
  static Float min(Float a, Float b) { return _mm256_min_ps(a, b); }
  static Float round(Float a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static Float scale_by_power(Float v, Float n) {
    const __m256i exponent = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return _mm256_mul_ps(v, _mm256_castsi256_ps(exponent));
  }
  static Float zero_below(Float v, Float x, Float limit) { return _mm256_andnot_ps(_mm256_cmp_ps(x, limit, _CMP_LT_OQ), v); }
  // Pairs of rows, then fours of rows within each half, then the halves.
  static void turn(Float (&row)[kLanes]) {
    __m256 part[8];  // [4 g + c]: in half b column 4 b + c of rows 4 g ..
    for (int g = 0; g < 2; g++) {
      const __m256 a = row[4 * g], b = row[4 * g + 1], c = row[4 * g + 2], d = row[4 * g + 3];
      const __m256d ab = _mm256_castps_pd(_mm256_unpacklo_ps(a, b)), cd = _mm256_castps_pd(_mm256_unpacklo_ps(c, d));
      const __m256d ab_high = _mm256_castps_pd(_mm256_unpackhi_ps(a, b)), cd_high = _mm256_castps_pd(_mm256_unpackhi_ps(c, d));
      part[4 * g] = _mm256_castpd_ps(_mm256_unpacklo_pd(ab, cd));
      part[4 * g + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(ab, cd));
      part[4 * g + 2] = _mm256_castpd_ps(_mm256_unpacklo_pd(ab_high, cd_high));
      part[4 * g + 3] = _mm256_castpd_ps(_mm256_unpackhi_pd(ab_high, cd_high));
    }
    for (int c = 0; c < 4; c++) {
      row[c] = _mm256_permute2f128_ps(part[c], part[4 + c], 0x20);
      row[4 + c] = _mm256_permute2f128_ps(part[c], part[4 + c], 0x31);
    }
  }
  static float sum(Float a) {
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
  }
  static float largest(Float a) {
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
  }
};

}  // namespace
}  // namespace leafcutter::kernels
