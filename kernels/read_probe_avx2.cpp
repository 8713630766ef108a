#include <immintrin.h>

#include "kernels/read_probe_isa.h"

namespace leafcutter::kernels {

std::uint64_t read_all_avx2(std::span<const std::byte> bytes) {
  constexpr std::size_t kChains = 8, kStep = kChains * sizeof(__m256i);
  __m256i sums[kChains] = {};
  for (std::size_t at = 0; at + kStep <= bytes.size(); at += kStep)
    for (std::size_t j = 0; j < kChains; j++)
      sums[j] = _mm256_xor_si256(sums[j], _mm256_load_si256(reinterpret_cast<const __m256i*>(bytes.data() + at) + j));
  for (std::size_t j = 1; j < kChains; j++) sums[0] = _mm256_xor_si256(sums[0], sums[j]);
  return static_cast<std::uint64_t>(_mm256_extract_epi64(sums[0], 0) ^ _mm256_extract_epi64(sums[0], 1) ^ _mm256_extract_epi64(sums[0], 2) ^
                                    _mm256_extract_epi64(sums[0], 3));
}

}  // namespace leafcutter::kernels
