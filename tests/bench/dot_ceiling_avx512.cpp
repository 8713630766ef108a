#include <immintrin.h>

#include "bench/dot_ceiling.h"

namespace leafcutter::bench {

int dot_ceiling_avx512(long steps) {
  const __m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(5);
  __m512i sums[kDotChains] = {};
#pragma GCC unroll 16
  for (int j = 0; j < kDotChains; j++) asm volatile("" : "+v"(sums[j]));  // equal chains would be computed once and counted twelve times
  for (long i = 0; i < steps; i++)
#pragma GCC unroll 16
    for (int j = 0; j < kDotChains; j++) sums[j] = _mm512_dpbusd_epi32(sums[j], a, b);
  for (int j = 1; j < kDotChains; j++) sums[0] = _mm512_add_epi32(sums[0], sums[j]);
  return _mm512_reduce_add_epi32(sums[0]);
}

}  // namespace leafcutter::bench
