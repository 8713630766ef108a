// Sixteen lanes of AVX-512; see simd_portable.h. Only for *_avx512.cpp.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace leafcutter::kernels {
namespace {

struct Simd {
  using Float = __m512;
  static constexpr std::size_t kLanes = 16;
  static constexpr std::size_t kRegisterTile = 4;

  static Float zero() { return _mm512_setzero_ps(); }
  static Float set1(float v) { return _mm512_set1_ps(v); }
  static Float load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, Float v) { _mm512_storeu_ps(p, v); }
  static Float load_half(const std::uint16_t* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
  static Float load_bf16(const std::uint16_t* p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 16));
  }
  static Float load_int8(const std::int8_t* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
  static __mmask16 part(std::size_t n) { return static_cast<__mmask16>((1u << n) - 1); }
  static Float load_part(const float* p, std::size_t n) { return _mm512_maskz_loadu_ps(part(n), p); }
  static void store_part(float* p, Float v, std::size_t n) { _mm512_mask_storeu_ps(p, part(n), v); }

  static Float add(Float a, Float b) { return _mm512_add_ps(a, b); }
  static Float sub(Float a, Float b) { return _mm512_sub_ps(a, b); }
  static Float mul(Float a, Float b) { return _mm512_mul_ps(a, b); }
  static Float div(Float a, Float b) { return _mm512_div_ps(a, b); }
  static Float fma(Float a, Float b, Float c) { return _mm512_fmadd_ps(a, b, c); }
  static Float max(Float a, Float b) { return _mm512_max_ps(a, b); }
  static Float min(Float a, Float b) { return _mm512_min_ps(a, b); }
  static Float round(Float a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static Float scale_by_power(Float v, Float n) {
    const __m512i exponent = _mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23);
    return _mm512_mul_ps(v, _mm512_castsi512_ps(exponent));
  }
  static Float zero_below(Float v, Float x, Float limit) { return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, limit, _CMP_NLT_UQ), v); }
  // Pairs of rows, then fours of rows within each quarter, then the quarters.
  static void turn(const float* from, std::size_t from_stride, float* to, std::size_t to_stride) {
    __m512 part[16];  // [4 g + c]: in quarter b column 4 b + c of rows 4 g ..
    for (int g = 0; g < 4; g++) {
      const float* row = from + 4 * g * from_stride;
      const __m512 a = load(row), b = load(row + from_stride), c = load(row + 2 * from_stride), d = load(row + 3 * from_stride);
      const __m512d ab = _mm512_castps_pd(_mm512_unpacklo_ps(a, b)), cd = _mm512_castps_pd(_mm512_unpacklo_ps(c, d));
      const __m512d ab_high = _mm512_castps_pd(_mm512_unpackhi_ps(a, b)), cd_high = _mm512_castps_pd(_mm512_unpackhi_ps(c, d));
      part[4 * g] = _mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd));
      part[4 * g + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd));
      part[4 * g + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(ab_high, cd_high));
      part[4 * g + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(ab_high, cd_high));
    }
    for (int c = 0; c < 4; c++) {
      const __m512 front = _mm512_shuffle_f32x4(part[c], part[4 + c], 0x44),
                   front_next = _mm512_shuffle_f32x4(part[8 + c], part[12 + c], 0x44);
      const __m512 back = _mm512_shuffle_f32x4(part[c], part[4 + c], 0xee),
                   back_next = _mm512_shuffle_f32x4(part[8 + c], part[12 + c], 0xee);
      store(to + c * to_stride, _mm512_shuffle_f32x4(front, front_next, 0x88));
      store(to + (4 + c) * to_stride, _mm512_shuffle_f32x4(front, front_next, 0xdd));
      store(to + (8 + c) * to_stride, _mm512_shuffle_f32x4(back, back_next, 0x88));
      store(to + (12 + c) * to_stride, _mm512_shuffle_f32x4(back, back_next, 0xdd));
    }
  }
  // Two 256-bit halves first: the order of sums is fixed here, not by the compiler's reduce.
  static __m256 upper(Float a) { return _mm512_extractf32x8_ps(a, 1); }
  static float sum(Float a) {
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a), upper(a));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
  }
  static float largest(Float a) {
    const __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(a), upper(a));
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
  }
};

}  // namespace
}  // namespace leafcutter::kernels
