// What a group of 32 weights of 16 rows is to kernels with AVX-512: its factors, its codes, how its integer sums enter those of the rows. For files that are compiled for AVX-512.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstddef>

#include "kernels/matmul.h"
#include "kernels/prefetch.h"
#include "kernels/strip_shape.h"

namespace leafcutter::kernels {
namespace {  // of each file, compiled with that file's flags

using Ints = __m512i;
using Floats = __m512;

constexpr std::size_t kPrefetchBytes = 8192;  // ahead of the codes; half of it is 16 % slower for four rows
constexpr std::size_t kNearPrefetchBytes =
    1024;  // into the first level where the second is fetched for too: it has few places for lines under way

enum class Prefetch { none, first_level, both_levels };

inline Ints load_line(const std::byte* p) { return _mm512_loadu_si512(p); }

inline Floats floats_of_u8(const std::byte* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
inline Floats floats_of_half(const std::byte* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }

// Scale and minus minimum of one group's 16 rows.
template <Layout kLayout>
struct GroupFactors {
  static constexpr GroupShape kShape = group_shape(kLayout);
  Floats d, m;  // of the rows

  explicit GroupFactors(const std::byte* strip) : d(_mm512_set1_ps(1)), m(_mm512_set1_ps(1)) {
    if constexpr (kShape.row_floats) d = _mm512_loadu_ps(strip);
    if constexpr (kShape.row_floats && kShape.minima) m = _mm512_sub_ps(_mm512_setzero_ps(), _mm512_loadu_ps(strip + 64));
  }
  Floats scale(const std::byte* head) const {
    if constexpr (kShape.scale == GroupScale::u8)
      return _mm512_mul_ps(d, floats_of_u8(head));
    else if constexpr (kShape.scale == GroupScale::half)
      return floats_of_half(head);
    else
      return d;
  }
  Floats minimum(const std::byte* head) const {
    if constexpr (kShape.scale == GroupScale::u8)
      return _mm512_mul_ps(m, floats_of_u8(head + kStripRows));
    else
      return floats_of_half(head + 32);
  }
};

template <Layout kLayout>
inline Ints first_dot(const ActivationGroup& group) {
  constexpr GroupShape kShape = group_shape(kLayout);
  if constexpr (kShape.minima)
    return _mm512_setzero_si512();
  else
    return _mm512_set1_epi32(kShape.bits == 8 ? group.offset : group.offset >> 4);
}

template <Layout kLayout>
inline Floats add_group(Floats sum, Ints dot, Floats scale, Floats minimum, const ActivationGroup& group) {
  sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), _mm512_mul_ps(scale, _mm512_set1_ps(group.scale)), sum);
  if constexpr (group_shape(kLayout).minima) sum = _mm512_fmadd_ps(minimum, _mm512_set1_ps(group.sum), sum);
  return sum;
}

inline void store_outputs(const MatmulArgs& a, std::size_t strip, std::size_t row, Floats sum) {
  const std::size_t first = strip * kStripRows;
  const std::size_t count = std::min(kStripRows, a.outputs - std::min(a.outputs, first));
  const __mmask16 mask = static_cast<__mmask16>((1u << count) - 1);
  Floats y = _mm512_mul_ps(_mm512_set1_ps(a.factor), sum);
  if (a.bias) y = _mm512_add_ps(y, _mm512_maskz_loadu_ps(mask, a.bias + first));
  _mm512_mask_storeu_ps(a.y + row * a.y_stride + first, mask, y);
}

// The codes of line `line` of a group: one register for 8 bits, two for 4.
template <Layout kLayout>
inline void unpack_line(const std::byte* codes, std::size_t line, Ints* u) {
  const Ints raw = load_line(codes + 64 * line);
  if constexpr (group_shape(kLayout).bits == 8) {
    u[0] = raw;
  } else {
    const Ints low = _mm512_set1_epi8(15);
    u[0] = _mm512_and_si512(raw, low);
    u[1] = _mm512_and_si512(_mm512_srli_epi16(raw, 4), low);
  }
}

// Every line of a block to come once, a quarter with each of the groups at hand.
template <Layout kLayout>
inline void prefetch_quarter(const std::byte* block, std::size_t quarter, Prefetch prefetch) {
  constexpr std::size_t kLines = (group_shape(kLayout).block_bytes() + 63) / 64;
  for (std::size_t i = kLines * quarter / kGroupsPerBlock; i < kLines * (quarter + 1) / kGroupsPerBlock; i++) {
    if (prefetch == Prefetch::both_levels) {
      prefetch_second_level(block + kPrefetchBytes + 64 * i);
      prefetch_first_level(block + kNearPrefetchBytes + 64 * i);
    } else {
      prefetch_first_level(block + kPrefetchBytes + 64 * i);
    }
  }
}

}  // namespace
}  // namespace leafcutter::kernels
