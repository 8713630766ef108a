// Products with AVX-512 VNNI: a line of 16 rows is one register, vpdpbusd takes codes (unsigned) times activations (signed). Only for processors with VNNI.
//
// Per group and output: dot = offset + sum of code * q, in integers; sum = fma(dot, weight scale * row scale, sum); with minima sum = fma(-minimum, row sum, sum). Up to 12 rows meet a strip in
// one pass, codes straight from it: unpacking them first, for tiles of several strips, gained nothing for hundreds of rows and lost half for eight (docs/benchmarks.md).
#include <immintrin.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/float_matmul_lanes.h"
#include "kernels/group_lanes_avx512.h"
#include "kernels/matmul_isa.h"
#include "kernels/simd_avx512.h"
#include "kernels/strip_shape.h"

namespace leafcutter::kernels {
namespace {

constexpr std::size_t kWords = kGroupWidth / 4;  // of 4 activations
constexpr std::size_t kPrefetchRows = 4;         // from here on every processor gains by it; fewer rows: prefetch.h
constexpr std::size_t kRows = 12;                // of a pass: 12 integer sums and 12 float sums stay in registers
constexpr std::size_t kRowBlock = 5 * kRows;     // rows whose activations stay in the second-level cache beside the strips

inline Ints word(const ActivationGroup& group, std::size_t w) {
  std::int32_t four;
  std::memcpy(&four, group.q + 4 * w, sizeof four);
  return _mm512_set1_epi32(four);
}

template <std::size_t R>
Prefetch prefetch_of_rows() {
  if (needs_software_prefetch()) return Prefetch::both_levels;
  return R >= kPrefetchRows ? Prefetch::first_level : Prefetch::none;
}

template <Layout kLayout, std::size_t R>
inline void add_block_group(const std::byte* block, std::size_t s, Prefetch prefetch, const GroupFactors<kLayout>& factors,
                            const ActivationGroup* x, Floats (&sums)[R]) {
  constexpr GroupShape kShape = group_shape(kLayout);
  constexpr std::size_t kWordsPerLine = kShape.bits == 4 ? 2 : 1;
  const std::byte* head = block + s * kShape.group_head;
  const std::byte* codes = block + kShape.block_head() + s * kShape.group_codes;
  if (prefetch != Prefetch::none) prefetch_quarter<kLayout>(block, s, prefetch);
  Ints dots[R];
  for (std::size_t r = 0; r < R; r++) dots[r] = first_dot<kLayout>(x[r]);
#pragma GCC unroll 8
  for (std::size_t line = 0; line < kWords / kWordsPerLine; line++) {
    Ints u[kWordsPerLine];
    unpack_line<kLayout>(codes, line, u);
#pragma GCC unroll 16
    for (std::size_t r = 0; r < R; r++)
      for (std::size_t i = 0; i < kWordsPerLine; i++) dots[r] = _mm512_dpbusd_epi32(dots[r], u[i], word(x[r], kWordsPerLine * line + i));
  }
  const Floats scale = factors.scale(head);
  Floats minimum = _mm512_setzero_ps();
  if constexpr (kShape.minima) minimum = factors.minimum(head);
  for (std::size_t r = 0; r < R; r++) sums[r] = add_group<kLayout>(sums[r], dots[r], scale, minimum, x[r]);
}

// R rows against one strip.
template <Layout kLayout, std::size_t R>
void strip_times_rows(const MatmulArgs& a, std::size_t strip, std::size_t row) {
  constexpr GroupShape kShape = group_shape(kLayout);
  const std::size_t groups = activation_groups(a.k);
  const std::byte* base = a.weights + strip * strip_bytes(kLayout, a.k);
  const GroupFactors<kLayout> factors(base);
  const Prefetch prefetch = prefetch_of_rows<R>();
  Floats sums[R];
  for (Floats& sum : sums) sum = _mm512_setzero_ps();
  const std::byte* block = base + kShape.front;
  const ActivationGroup* x = a.groups + row;
  std::size_t g = 0;
  for (; g + kGroupsPerBlock <= groups; g += kGroupsPerBlock, block += kShape.block_bytes(), x += kGroupsPerBlock * a.rows)
#pragma GCC unroll 1  // four times the code would not fit the cache of decoded instructions: 5 to 15 % slower
    for (std::size_t s = 0; s < kGroupsPerBlock; s++) add_block_group<kLayout, R>(block, s, prefetch, factors, x + s * a.rows, sums);
  for (std::size_t s = 0; g + s < groups; s++) add_block_group<kLayout, R>(block, s, prefetch, factors, x + s * a.rows, sums);
  for (std::size_t r = 0; r < R; r++) store_outputs(a, strip, row + r, sums[r]);
}

template <Layout kLayout, std::size_t... R>
void pass(const MatmulArgs& a, std::size_t strip, std::size_t row, std::size_t rows, std::index_sequence<R...>) {
  using Run = void (*)(const MatmulArgs&, std::size_t, std::size_t);
  static constexpr Run kRun[] = {strip_times_rows<kLayout, R + 1>...};
  kRun[rows - 1](a, strip, row);
}

template <Layout kLayout>
void group_matmul(const MatmulArgs& a) {
  for (std::size_t begin = 0; begin < a.rows; begin += kRowBlock) {
    const std::size_t rows = std::min(kRowBlock, a.rows - begin);
    const std::size_t passes = (rows + kRows - 1) / kRows;  // of nearly the same height: 7 and 6 rather than 12 and 1
    for (std::size_t s = 0; s < a.strips; s++)
      for (std::size_t p = 0; p < passes; p++) {
        const std::size_t first = rows * p / passes, last = rows * (p + 1) / passes;
        pass<kLayout>(a, s, begin + first, last - first, std::make_index_sequence<kRows>());
      }
  }
}

}  // namespace

Matmul matmul_avx512(Layout layout) {
  return kernel_of(layout, []<Layout kLayout>() -> Matmul {
    if constexpr (group_shape(kLayout).group_codes > 0)
      return group_matmul<kLayout>;
    else
      return float_matmul_lanes<Simd, kLayout>;
  });
}

}  // namespace leafcutter::kernels
