// Products with AVX2: a line of 16 rows is two registers.
//
// 4 bits: vpmaddubsw of codes (unsigned) and activations (signed), its 16-bit sums kept over the 32 k of a group (exact: at most 8 * 2 * 15 * 127 a lane), then one vpmaddwd.
// 8 bits: |w| times activations with the sign of w, vpmaddubsw + vpmaddwd for each word (exact: 2 * 128 * 127 fits 16 bits).
// Per group and output: sum = fma(dot, weight scale * row scale, sum); then sum = fma(low, row sum, sum), low being what a code of 0 stands for: minus the minimum, or -8 scales. The same operations in
// the same order for one row (codes straight from the strip) and for many (the codes of a strip's 256 k are unpacked once into the first-level cache and used by all rows, 4 at a time).
#include <immintrin.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/float_matmul_lanes.h"
#include "kernels/matmul_isa.h"
#include "kernels/prefetch.h"
#include "kernels/simd_avx2.h"
#include "kernels/strip_shape.h"

namespace leafcutter::kernels {
namespace {

using Ints = __m256i;
using Floats = __m256;

constexpr std::size_t kWords = kGroupWidth / 4;
constexpr std::size_t kHalves = 2;
constexpr std::size_t kPrefetchBytes = 8192;
constexpr std::size_t kPassRows = 4;  // rows that meet a strip in one pass, codes straight from it
constexpr std::size_t kFewRows = 16;  // up to here rows are done that way
constexpr std::size_t kTileRows = 4;
constexpr std::size_t kUnpackedGroups = 8;
constexpr std::size_t kRowBlock = 128;

inline Ints load_half_line(const std::byte* p) { return _mm256_loadu_si256(reinterpret_cast<const Ints*>(p)); }

inline Ints word(const ActivationGroup& group, std::size_t w) {
  std::int32_t four;
  std::memcpy(&four, group.q + 4 * w, sizeof four);
  return _mm256_set1_epi32(four);
}

inline Floats floats_of_u8(const std::byte* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}
inline Floats floats_of_half(const std::byte* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }

// Codes of one group and half a strip: unsigned codes for 4 bits, signed weights for 8.
template <Layout kLayout>
inline void unpack(const std::byte* codes, std::size_t half, Ints* u) {
  if constexpr (group_shape(kLayout).bits == 8) {
    for (std::size_t w = 0; w < kWords; w++) u[w] = _mm256_xor_si256(load_half_line(codes + 64 * w + 32 * half), _mm256_set1_epi8(-128));
  } else {
    const Ints low = _mm256_set1_epi8(15);
    for (std::size_t line = 0; line < kWords / 2; line++) {
      const Ints pair = load_half_line(codes + 64 * line + 32 * half);
      u[2 * line] = _mm256_and_si256(pair, low);
      u[2 * line + 1] = _mm256_and_si256(_mm256_srli_epi16(pair, 4), low);
    }
  }
}

// Adds word w of a group. 4 bits: sums are 16-bit; 8 bits: 32-bit.
template <Layout kLayout>
inline Ints dot_word(Ints sum, Ints u, Ints four) {
  Ints product;
  if constexpr (group_shape(kLayout).bits == 8) {
    product = _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_abs_epi8(u), _mm256_sign_epi8(four, u)), _mm256_set1_epi16(1));
    sum = _mm256_add_epi32(sum, product);
  } else {
    product = _mm256_maddubs_epi16(u, four);
    sum = _mm256_add_epi16(sum, product);
  }
  asm("" : "+x"(sum));  // else compilers reorder the sums (integer addition is associative) and spill every product
  return sum;
}

template <Layout kLayout>
inline Floats dot_floats(Ints sum) {
  if constexpr (group_shape(kLayout).bits == 4) sum = _mm256_madd_epi16(sum, _mm256_set1_epi16(1));
  return _mm256_cvtepi32_ps(sum);
}

template <Layout kLayout>
struct GroupFactors {
  static constexpr GroupShape kShape = group_shape(kLayout);
  static constexpr bool kLow = kShape.minima || kShape.bits == 4;  // does a code of 0 stand for something?
  Floats d[kHalves], m[kHalves];

  explicit GroupFactors(const std::byte* strip) {
    for (std::size_t h = 0; h < kHalves; h++) {
      d[h] = m[h] = _mm256_set1_ps(1);
      if constexpr (kShape.row_floats) d[h] = _mm256_loadu_ps(reinterpret_cast<const float*>(strip) + 8 * h);
      if constexpr (kShape.row_floats && kShape.minima)
        m[h] = _mm256_sub_ps(_mm256_setzero_ps(), _mm256_loadu_ps(reinterpret_cast<const float*>(strip + 64) + 8 * h));
    }
  }
  Floats scale(const std::byte* head, std::size_t h) const {
    if constexpr (kShape.scale == GroupScale::u8)
      return _mm256_mul_ps(d[h], floats_of_u8(head + 8 * h));
    else if constexpr (kShape.scale == GroupScale::half)
      return floats_of_half(head + 16 * h);
    else
      return d[h];
  }
  Floats low(const std::byte* head, std::size_t h, Floats scale) const {
    if constexpr (!kShape.minima)
      return _mm256_mul_ps(scale, _mm256_set1_ps(-static_cast<float>(kShape.zero)));
    else if constexpr (kShape.scale == GroupScale::u8)
      return _mm256_mul_ps(m[h], floats_of_u8(head + kStripRows + 8 * h));
    else
      return floats_of_half(head + 32 + 16 * h);
  }
};

template <Layout kLayout>
inline Floats add_group(Floats sum, Ints dot, Floats scale, Floats low, const ActivationGroup& group) {
  sum = _mm256_fmadd_ps(dot_floats<kLayout>(dot), _mm256_mul_ps(scale, _mm256_set1_ps(group.scale)), sum);
  if constexpr (GroupFactors<kLayout>::kLow) sum = _mm256_fmadd_ps(low, _mm256_set1_ps(group.sum), sum);
  return sum;
}

inline void store_outputs(const MatmulArgs& a, std::size_t strip, std::size_t half, std::size_t row, Floats sum) {
  const std::size_t first = strip * kStripRows + 8 * half;
  if (first >= a.outputs) return;
  const std::size_t count = std::min<std::size_t>(8, a.outputs - first);
  Floats y = _mm256_mul_ps(_mm256_set1_ps(a.factor), sum);
  if (a.bias) y = _mm256_add_ps(y, Simd::load_part(a.bias + first, count));
  Simd::store_part(a.y + row * a.y_stride + first, y, count);
}

// Every line of a block to come once, a quarter with each of the groups at hand.
template <Layout kLayout>
inline void prefetch_quarter(const std::byte* block, std::size_t quarter) {
  constexpr std::size_t kLines = (group_shape(kLayout).block_bytes() + 63) / 64;
  for (std::size_t i = kLines * quarter / kGroupsPerBlock; i < kLines * (quarter + 1) / kGroupsPerBlock; i++)
    prefetch_first_level(block + kPrefetchBytes + 64 * i);
}

// The codes of half a line: two words of 4 bits, one of 8.
template <Layout kLayout>
inline void unpack_half_line(const std::byte* p, Ints* u) {
  const Ints raw = load_half_line(p);
  if constexpr (group_shape(kLayout).bits == 8) {
    u[0] = _mm256_xor_si256(raw, _mm256_set1_epi8(-128));
  } else {
    u[0] = _mm256_and_si256(raw, _mm256_set1_epi8(15));
    u[1] = _mm256_and_si256(_mm256_srli_epi16(raw, 4), _mm256_set1_epi8(15));
  }
}

// Half h of a group: R integer sums and the codes stay in registers, which both halves at once would not.
template <Layout kLayout, std::size_t R>
inline void add_half_group(const std::byte* head, const std::byte* codes, std::size_t h, const GroupFactors<kLayout>& factors,
                           const ActivationGroup* x, Floats (&sums)[R]) {
  constexpr std::size_t kWordsPerLine = 8 / group_shape(kLayout).bits;
  asm("" : "+r"(x));  // else compilers keep the first half's broadcasts for the second, and spill them all
  Ints dots[R] = {};
#pragma GCC unroll 8
  for (std::size_t line = 0; line < kWords / kWordsPerLine; line++) {
    Ints u[kWordsPerLine];
    unpack_half_line<kLayout>(codes + 64 * line + 32 * h, u);
#pragma GCC unroll 8
    for (std::size_t r = 0; r < R; r++)
      for (std::size_t i = 0; i < kWordsPerLine; i++) dots[r] = dot_word<kLayout>(dots[r], u[i], word(x[r], kWordsPerLine * line + i));
  }
  const Floats scale = factors.scale(head, h);
  Floats low = _mm256_setzero_ps();
  if constexpr (GroupFactors<kLayout>::kLow) low = factors.low(head, h, scale);
  for (std::size_t r = 0; r < R; r++) sums[r] = add_group<kLayout>(sums[r], dots[r], scale, low, x[r]);
}

// R rows against one strip, codes straight from it.
template <Layout kLayout, std::size_t R>
void strip_times_rows(const MatmulArgs& a, std::size_t strip, std::size_t row) {
  constexpr GroupShape kShape = group_shape(kLayout);
  const std::byte* base = a.weights + strip * strip_bytes(kLayout, a.k);
  const GroupFactors<kLayout> factors(base);
  const std::size_t groups = activation_groups(a.k);
  Floats sums[kHalves][R];
  for (auto& half : sums)
    for (Floats& sum : half) sum = _mm256_setzero_ps();
  const std::byte* block = base + kShape.front;
  const ActivationGroup* x = a.groups + row;
  for (std::size_t g0 = 0; g0 < groups; g0 += kGroupsPerBlock, block += kShape.block_bytes()) {
    const std::size_t count = std::min(kGroupsPerBlock, groups - g0);
#pragma GCC unroll 1  // four times the code would not fit the cache of decoded instructions
    for (std::size_t s = 0; s < count; s++, x += a.rows) {
      prefetch_quarter<kLayout>(block, s);
      for (std::size_t h = 0; h < kHalves; h++)
        add_half_group<kLayout, R>(block + s * kShape.group_head, block + kShape.block_head() + s * kShape.group_codes, h, factors, x,
                                   sums[h]);
    }
  }
  for (std::size_t h = 0; h < kHalves; h++)
    for (std::size_t r = 0; r < R; r++) store_outputs(a, strip, h, row + r, sums[h][r]);
}

template <Layout kLayout, std::size_t... R>
void pass(const MatmulArgs& a, std::size_t strip, std::size_t row, std::size_t rows, std::index_sequence<R...>) {
  using Run = void (*)(const MatmulArgs&, std::size_t, std::size_t);
  static constexpr Run kRun[] = {strip_times_rows<kLayout, R + 1>...};
  kRun[rows - 1](a, strip, row);
}

// ---- many rows

struct UnpackedGroup {
  Ints codes[kWords][kHalves];
  Floats scale[kHalves], low[kHalves];
};

template <Layout kLayout>
void unpack_groups(const MatmulArgs& a, std::size_t strip, std::size_t first, std::size_t count, UnpackedGroup* out) {
  constexpr GroupShape kShape = group_shape(kLayout);
  const std::byte* base = a.weights + strip * strip_bytes(kLayout, a.k);
  const GroupFactors<kLayout> factors(base);
  for (std::size_t i = 0; i < count; i++) {
    const std::size_t g = first + i;
    const std::byte* block = base + kShape.front + g / kGroupsPerBlock * kShape.block_bytes();
    const std::byte* head = block + g % kGroupsPerBlock * kShape.group_head;
    for (std::size_t h = 0; h < kHalves; h++) {
      Ints u[kWords];
      unpack<kLayout>(block + kShape.block_head() + g % kGroupsPerBlock * kShape.group_codes, h, u);
      for (std::size_t w = 0; w < kWords; w++) out[i].codes[w][h] = u[w];
      out[i].scale[h] = factors.scale(head, h);
      if constexpr (GroupFactors<kLayout>::kLow) out[i].low[h] = factors.low(head, h, out[i].scale[h]);
    }
  }
}

template <Layout kLayout, std::size_t R>
void tile(const UnpackedGroup& u, const ActivationGroup* x, Floats (*sums)[kHalves]) {
  Ints dots[R][kHalves] = {};
#pragma GCC unroll 8
  for (std::size_t w = 0; w < kWords; w++) {
    Ints codes[kHalves] = {u.codes[w][0], u.codes[w][1]};
    asm("" : "+x"(codes[0]), "+x"(codes[1]));  // one load each, not one a use
    for (std::size_t r = 0; r < R; r++) {
      const Ints four = word(x[r], w);
      for (std::size_t h = 0; h < kHalves; h++) dots[r][h] = dot_word<kLayout>(dots[r][h], codes[h], four);
    }
  }
  for (std::size_t r = 0; r < R; r++)
    for (std::size_t h = 0; h < kHalves; h++) sums[r][h] = add_group<kLayout>(sums[r][h], dots[r][h], u.scale[h], u.low[h], x[r]);
}

template <Layout kLayout>
void many_rows(const MatmulArgs& a, std::size_t strip, std::size_t row, std::size_t rows) {
  UnpackedGroup unpacked[kUnpackedGroups];
  Floats sums[kRowBlock][kHalves];
  for (std::size_t m = 0; m < rows; m++)
    for (std::size_t h = 0; h < kHalves; h++) sums[m][h] = _mm256_setzero_ps();
  const std::size_t groups = activation_groups(a.k);
  for (std::size_t g = 0; g < groups; g += kUnpackedGroups) {
    const std::size_t count = std::min(kUnpackedGroups, groups - g);
    unpack_groups<kLayout>(a, strip, g, count, unpacked);
    for (std::size_t i = 0; i < count; i++) {
      const ActivationGroup* x = a.groups + (g + i) * a.rows + row;
      std::size_t m = 0;
      for (; m + kTileRows <= rows; m += kTileRows) tile<kLayout, kTileRows>(unpacked[i], x + m, sums + m);
      for (; m < rows; m++) tile<kLayout, 1>(unpacked[i], x + m, sums + m);
    }
  }
  for (std::size_t m = 0; m < rows; m++)
    for (std::size_t h = 0; h < kHalves; h++) store_outputs(a, strip, h, row + m, sums[m][h]);
}

template <Layout kLayout>
void group_matmul(const MatmulArgs& a) {
  if (a.rows <= kFewRows) {
    const std::size_t passes = (a.rows + kPassRows - 1) / kPassRows;
    for (std::size_t s = 0; s < a.strips; s++)
      for (std::size_t p = 0; p < passes; p++) {
        const std::size_t first = a.rows * p / passes, last = a.rows * (p + 1) / passes;
        pass<kLayout>(a, s, first, last - first, std::make_index_sequence<kPassRows>());
      }
    return;
  }
  for (std::size_t row = 0; row < a.rows; row += kRowBlock)
    for (std::size_t s = 0; s < a.strips; s++) many_rows<kLayout>(a, s, row, std::min(kRowBlock, a.rows - row));
}

}  // namespace

Matmul matmul_avx2(Layout layout) {
  return kernel_of(layout, []<Layout kLayout>() -> Matmul {
    if constexpr (group_shape(kLayout).group_codes > 0)
      return group_matmul<kLayout>;
    else
      return float_matmul_lanes<Simd, kLayout>;
  });
}

}  // namespace leafcutter::kernels
