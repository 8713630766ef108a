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
  static constexpr bool kTurnsHalves = true;
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
  static void turn(Float (&row)[kLanes]) {
    __m512 part[16];  // [4 g + c]: in quarter b column 4 b + c of rows 4 g ..
    for (int g = 0; g < 4; g++) {
      const __m512 a = row[4 * g], b = row[4 * g + 1], c = row[4 * g + 2], d = row[4 * g + 3];
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
      row[c] = _mm512_shuffle_f32x4(front, front_next, 0x88);
      row[4 + c] = _mm512_shuffle_f32x4(front, front_next, 0xdd);
      row[8 + c] = _mm512_shuffle_f32x4(back, back_next, 0x88);
      row[12 + c] = _mm512_shuffle_f32x4(back, back_next, 0xdd);
    }
  }
  // Sixteen halves of each of the sixteen rows at rows + offset[..], turned before they are widened: 48 shuffles where widening first takes 80. Rows r and r + 8 share a register; pairs, fours and
  // eights of rows within each quarter, where the last step also brings the quarters of one column together.
  static void load_halves_turned(const std::byte* rows, const std::size_t* offset, Float (&to)[kLanes]) {
    __m512i row[8], pair[8], four[8];
    for (int r = 0; r < 8; r++) {
      const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows + offset[r]));
      const __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows + offset[r + 8]));
      row[r] = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
    }
    for (int r = 0; r < 4; r++) {  // columns 0-3 and 4-7 of rows 2 r, 2 r + 1
      pair[r] = _mm512_unpacklo_epi16(row[2 * r], row[2 * r + 1]);
      pair[4 + r] = _mm512_unpackhi_epi16(row[2 * r], row[2 * r + 1]);
    }
    for (int h = 0; h < 2; h++)
      for (int r = 0; r < 2; r++) {  // columns 4 h, 4 h + 1 and 4 h + 2, 4 h + 3 of rows 4 r ..
        four[4 * h + r] = _mm512_unpacklo_epi32(pair[4 * h + 2 * r], pair[4 * h + 2 * r + 1]);
        four[4 * h + 2 + r] = _mm512_unpackhi_epi32(pair[4 * h + 2 * r], pair[4 * h + 2 * r + 1]);
      }
    const __m512i even = _mm512_setr_epi64(0, 8, 4, 12, 2, 10, 6, 14), odd = _mm512_setr_epi64(1, 9, 5, 13, 3, 11, 7, 15);
    for (int c = 0; c < 4; c++) {
      const __m512i a = _mm512_permutex2var_epi64(four[2 * c], even, four[2 * c + 1]);
      const __m512i b = _mm512_permutex2var_epi64(four[2 * c], odd, four[2 * c + 1]);
      to[2 * c] = _mm512_cvtph_ps(_mm512_castsi512_si256(a));
      to[2 * c + 1] = _mm512_cvtph_ps(_mm512_castsi512_si256(b));
      to[8 + 2 * c] = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(a, 1));
      to[8 + 2 * c + 1] = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(b, 1));
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
