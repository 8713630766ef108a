// Products with AVX-512 VNNI: a line of 16 rows is one register, vpdpbusd takes codes (unsigned) times activations (signed). Only for processors with VNNI.
//
// Per group and output: dot = offset + sum of code * q, in integers; sum = fma(dot, weight scale * row scale, sum); with minima sum = fma(-minimum, row sum, sum). The same operations in the
// same order for one row (codes straight from the strip) and for many (codes of two strips and 256 k unpacked once, then tiles of 2 strips x 6 rows held in registers: 12 integer sums, 12 float
// sums; a broadcast serves two products, which is what the load ports allow).
#include <immintrin.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/float_matmul_lanes.h"
#include "kernels/matmul_isa.h"
#include "kernels/simd_avx512.h"
#include "kernels/strip_shape.h"

namespace leafcutter::kernels {
namespace {

using Ints = __m512i;
using Floats = __m512;

constexpr std::size_t kWords = kGroupWidth / 4;  // of 4 activations
constexpr std::size_t kPrefetchBytes = 2048;     // ahead of the codes: without, decode is 12-20 % slower
constexpr std::size_t kFewRows = 4;              // up to here rows are done straight from the strips
constexpr std::size_t kTileRows = 6;
constexpr std::size_t kTileStrips = 2;
constexpr std::size_t kUnpackedGroups = 8;  // 256 k of two strips: 10 KiB, stays in the first-level cache
constexpr std::size_t kRowBlock = 256;      // rows whose activations stay in the second-level cache for k up to 2048

inline Ints load_line(const std::byte* p) { return _mm512_loadu_si512(p); }

inline Ints word(const ActivationGroup& group, std::size_t w) {
  std::int32_t four;
  std::memcpy(&four, group.q + 4 * w, sizeof four);
  return _mm512_set1_epi32(four);
}

inline Floats floats_of_u8(const std::byte* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
inline Floats floats_of_half(const std::byte* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }

// Codes of one group as kWords registers of unsigned bytes.
template <Layout kLayout>
inline void unpack(const std::byte* codes, Ints* u) {
  if constexpr (group_shape(kLayout).bits == 8) {
    for (std::size_t w = 0; w < kWords; w++) u[w] = load_line(codes + 64 * w);
  } else {
    const Ints low = _mm512_set1_epi8(15);
    for (std::size_t line = 0; line < kWords / 2; line++) {
      const Ints pair = load_line(codes + 64 * line);
      u[2 * line] = _mm512_and_si512(pair, low);
      u[2 * line + 1] = _mm512_and_si512(_mm512_srli_epi16(pair, 4), low);
    }
  }
}

// Scale and minus minimum of one group's 16 rows.
template <Layout kLayout>
struct GroupFactors {
  static constexpr GroupShape kShape = group_shape(kLayout);
  Floats d, m;  // of the rows

  void load(const std::byte* strip) {
    d = m = _mm512_set1_ps(1);
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

// ---- few rows: codes straight from the strips

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

// Every line of the block `kPrefetchBytes` ahead once, a quarter with each of its groups.
template <Layout kLayout>
inline void prefetch_quarter(const std::byte* block, std::size_t quarter) {
  constexpr std::size_t kLines = (group_shape(kLayout).block_bytes() + 63) / 64;
  for (std::size_t i = kLines * quarter / kGroupsPerBlock; i < kLines * (quarter + 1) / kGroupsPerBlock; i++)
    _mm_prefetch(reinterpret_cast<const char*>(block + 64 * i + kPrefetchBytes), _MM_HINT_T0);
}

template <Layout kLayout, std::size_t S, std::size_t R, bool kAhead>
inline void add_block_group(const std::byte* block, std::size_t strip_stride, std::size_t s, const GroupFactors<kLayout>* factors,
                            const ActivationGroup* x, Floats (&sums)[R][S]) {
  constexpr GroupShape kShape = group_shape(kLayout);
  constexpr std::size_t kWordsPerLine = 8 / kShape.bits;
  const std::byte* head = block + s * kShape.group_head;
  const std::byte* codes = block + kShape.block_head() + s * kShape.group_codes;
  if constexpr (kAhead)
    for (std::size_t t = 0; t < S; t++) prefetch_quarter<kLayout>(block + t * strip_stride, s);
  Ints dots[R][S];
  for (std::size_t r = 0; r < R; r++)
    for (std::size_t t = 0; t < S; t++) dots[r][t] = first_dot<kLayout>(x[r]);
#pragma GCC unroll 8
  for (std::size_t line = 0; line < kWords / kWordsPerLine; line++) {
    Ints u[S][kWordsPerLine];
    for (std::size_t t = 0; t < S; t++) unpack_line<kLayout>(codes + t * strip_stride, line, u[t]);
#pragma GCC unroll 8
    for (std::size_t r = 0; r < R; r++)
      for (std::size_t i = 0; i < kWordsPerLine; i++) {
        const Ints four = word(x[r], kWordsPerLine * line + i);
        for (std::size_t t = 0; t < S; t++) dots[r][t] = _mm512_dpbusd_epi32(dots[r][t], u[t][i], four);
      }
  }
  for (std::size_t t = 0; t < S; t++) {
    const Floats scale = factors[t].scale(head + t * strip_stride);
    Floats minimum = _mm512_setzero_ps();
    if constexpr (kShape.minima) minimum = factors[t].minimum(head + t * strip_stride);
    for (std::size_t r = 0; r < R; r++) sums[r][t] = add_group<kLayout>(sums[r][t], dots[r][t], scale, minimum, x[r]);
  }
}

template <Layout kLayout, std::size_t S, std::size_t R, bool kAhead>
inline void add_block(const std::byte* block, std::size_t strip_stride, std::size_t count, const GroupFactors<kLayout>* factors,
                      const ActivationGroup* x, std::size_t x_stride, Floats (&sums)[R][S]) {
  if (count == kGroupsPerBlock) {
#pragma GCC unroll 4
    for (std::size_t s = 0; s < kGroupsPerBlock; s++)
      add_block_group<kLayout, S, R, kAhead>(block, strip_stride, s, factors, x + s * x_stride, sums);
  } else {
    for (std::size_t s = 0; s < count; s++) add_block_group<kLayout, S, R, kAhead>(block, strip_stride, s, factors, x + s * x_stride, sums);
  }
}

// R rows against S strips.
template <Layout kLayout, std::size_t S, std::size_t R>
void strips_times_rows(const MatmulArgs& a, std::size_t strip, std::size_t row) {
  constexpr GroupShape kShape = group_shape(kLayout);
  const std::size_t stride = strip_bytes(kLayout, a.k), groups = activation_groups(a.k);
  const std::byte* base = a.weights + strip * stride;
  GroupFactors<kLayout> factors[S];
  for (std::size_t t = 0; t < S; t++) factors[t].load(base + t * stride);
  Floats sums[R][S];
  for (auto& of_row : sums)
    for (Floats& sum : of_row) sum = _mm512_setzero_ps();
  const std::byte* block = base + kShape.front;
  const ActivationGroup* x = a.groups + row;
  for (std::size_t g = 0; g < groups; g += kGroupsPerBlock, block += kShape.block_bytes(), x += kGroupsPerBlock * a.rows)
    add_block<kLayout, S, R, true>(block, stride, std::min(kGroupsPerBlock, groups - g), factors, x, a.rows, sums);
  for (std::size_t r = 0; r < R; r++)
    for (std::size_t t = 0; t < S; t++) store_outputs(a, strip + t, row + r, sums[r][t]);
}

template <Layout kLayout, std::size_t S, std::size_t... R>
void few_rows(const MatmulArgs& a, std::size_t strip, std::index_sequence<R...>) {
  using Run = void (*)(const MatmulArgs&, std::size_t, std::size_t);
  static constexpr Run kRun[] = {strips_times_rows<kLayout, S, R + 1>...};
  kRun[a.rows - 1](a, strip, 0);
}

// ---- many rows

struct UnpackedGroup {
  Ints codes[kTileStrips][kWords];
  Floats scale[kTileStrips], minimum[kTileStrips];
};

template <Layout kLayout, std::size_t S>
void unpack_groups(const MatmulArgs& a, std::size_t strip, std::size_t first, std::size_t count, UnpackedGroup* out) {
  constexpr GroupShape kShape = group_shape(kLayout);
  for (std::size_t s = 0; s < S; s++) {
    const std::byte* base = a.weights + (strip + s) * strip_bytes(kLayout, a.k);
    GroupFactors<kLayout> factors;
    factors.load(base);
    for (std::size_t i = 0; i < count; i++) {
      const std::size_t g = first + i;
      const std::byte* block = base + kShape.front + g / kGroupsPerBlock * kShape.block_bytes();
      const std::byte* head = block + g % kGroupsPerBlock * kShape.group_head;
      unpack<kLayout>(block + kShape.block_head() + g % kGroupsPerBlock * kShape.group_codes, out[i].codes[s]);
      out[i].scale[s] = factors.scale(head);
      if constexpr (kShape.minima) out[i].minimum[s] = factors.minimum(head);
    }
  }
}

// R rows against S strips over `count` groups; sums are kept from one set of groups to the next.
template <Layout kLayout, std::size_t S, std::size_t R>
void tile(const UnpackedGroup* u, std::size_t count, const ActivationGroup* x, std::size_t x_stride, Floats (*kept)[kTileStrips],
          bool first) {
  Floats sums[R][S];
  for (std::size_t r = 0; r < R; r++)
    for (std::size_t s = 0; s < S; s++) sums[r][s] = first ? _mm512_setzero_ps() : kept[r][s];
  for (std::size_t i = 0; i < count; i++, x += x_stride) {
    Ints dots[R][S];
    for (std::size_t r = 0; r < R; r++)
      for (std::size_t s = 0; s < S; s++) dots[r][s] = first_dot<kLayout>(x[r]);
#pragma GCC unroll 8
    for (std::size_t w = 0; w < kWords; w++) {
      Ints codes[S];
      for (std::size_t s = 0; s < S; s++) codes[s] = u[i].codes[s][w];
#pragma GCC unroll 8
      for (std::size_t r = 0; r < R; r++) {
        const Ints four = word(x[r], w);
        for (std::size_t s = 0; s < S; s++) { dots[r][s] = _mm512_dpbusd_epi32(dots[r][s], codes[s], four); }
      }
    }
    for (std::size_t r = 0; r < R; r++)
      for (std::size_t s = 0; s < S; s++) {
        Floats minimum = _mm512_setzero_ps();
        if constexpr (group_shape(kLayout).minima) minimum = u[i].minimum[s];
        sums[r][s] = add_group<kLayout>(sums[r][s], dots[r][s], u[i].scale[s], minimum, x[r]);
      }
  }
  for (std::size_t r = 0; r < R; r++)
    for (std::size_t s = 0; s < S; s++) kept[r][s] = sums[r][s];
}

template <Layout kLayout, std::size_t S, std::size_t... R>
void last_tile(std::size_t rows, const UnpackedGroup* u, std::size_t count, const ActivationGroup* x, std::size_t x_stride,
               Floats (*kept)[kTileStrips], bool first, std::index_sequence<R...>) {
  using Run = void (*)(const UnpackedGroup*, std::size_t, const ActivationGroup*, std::size_t, Floats(*)[kTileStrips], bool);
  static constexpr Run kRun[] = {tile<kLayout, S, R + 1>...};
  kRun[rows - 1](u, count, x, x_stride, kept, first);
}

template <Layout kLayout, std::size_t S>
void many_rows(const MatmulArgs& a, std::size_t strip, std::size_t row, std::size_t rows) {
  UnpackedGroup unpacked[kUnpackedGroups];
  Floats kept[kRowBlock][kTileStrips];
  const std::size_t groups = activation_groups(a.k);
  for (std::size_t g = 0; g < groups; g += kUnpackedGroups) {
    const std::size_t count = std::min(kUnpackedGroups, groups - g);
    unpack_groups<kLayout, S>(a, strip, g, count, unpacked);
    const ActivationGroup* x = a.groups + g * a.rows + row;
    std::size_t m = 0;
    for (; m + kTileRows <= rows; m += kTileRows) tile<kLayout, S, kTileRows>(unpacked, count, x + m, a.rows, kept + m, g == 0);
    if (m < rows)
      last_tile<kLayout, S>(rows - m, unpacked, count, x + m, a.rows, kept + m, g == 0, std::make_index_sequence<kTileRows - 1>());
  }
  for (std::size_t m = 0; m < rows; m++)
    for (std::size_t s = 0; s < S; s++) store_outputs(a, strip + s, row + m, kept[m][s]);
}

template <Layout kLayout>
void group_matmul(const MatmulArgs& a) {
  if (a.rows <= kFewRows) {
    if (a.rows == 0) return;
    constexpr std::size_t kPair = 2;
    std::size_t s = 0;
    if (a.rows > 1)
      for (; s + kPair <= a.strips; s += kPair) few_rows<kLayout, kPair>(a, s, std::make_index_sequence<kFewRows>());
    for (; s < a.strips; s++) few_rows<kLayout, 1>(a, s, std::make_index_sequence<kFewRows>());
    return;
  }
  for (std::size_t row = 0; row < a.rows; row += kRowBlock) {
    const std::size_t rows = std::min(kRowBlock, a.rows - row);
    std::size_t s = 0;
    for (; s + kTileStrips <= a.strips; s += kTileStrips) many_rows<kLayout, kTileStrips>(a, s, row, rows);
    if (s < a.strips) many_rows<kLayout, 1>(a, s, row, rows);
  }
}

}  // namespace

Matmul matmul_avx512(Layout layout) {
  switch (layout) {
    case Layout::f32:
      return float_matmul_lanes<Simd, Layout::f32>;
    case Layout::f16:
      return float_matmul_lanes<Simd, Layout::f16>;
    case Layout::bf16:
      return float_matmul_lanes<Simd, Layout::bf16>;
    case Layout::q8:
      return group_matmul<Layout::q8>;
    case Layout::q8row:
      return group_matmul<Layout::q8row>;
    case Layout::q4:
      return group_matmul<Layout::q4>;
    case Layout::q8_0:
      return group_matmul<Layout::q8_0>;
    case Layout::q4_0:
      return group_matmul<Layout::q4_0>;
    case Layout::q4_1:
      return group_matmul<Layout::q4_1>;
    case Layout::plain:
      break;
  }
  return nullptr;
}

}  // namespace leafcutter::kernels
