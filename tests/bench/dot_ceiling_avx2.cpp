#include <immintrin.h>

#include "bench/dot_ceiling.h"

namespace leafcutter::bench {

int dot_ceiling_avx2(long steps) {
  const __m256i a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(5), ones = _mm256_set1_epi16(1);
  __m256i sums[kDotChains] = {};
  for (long i = 0; i < steps; i++)
#pragma GCC unroll 16
    for (int j = 0; j < kDotChains; j++) {
      __m256i pairs = _mm256_maddubs_epi16(a, b);
      asm volatile("" : "+x"(pairs));  // else one product does for all chains
      sums[j] = _mm256_add_epi32(sums[j], _mm256_madd_epi16(pairs, ones));
    }
  for (int j = 1; j < kDotChains; j++) sums[0] = _mm256_add_epi32(sums[0], sums[j]);
  return _mm256_extract_epi32(sums[0], 0);
}

}  // namespace leafcutter::bench
