#include <immintrin.h>

#include "kernels/read_probe_isa.h"

namespace leafcutter::kernels {

std::uint64_t read_all_avx512(std::span<const std::byte> bytes) {
  constexpr std::size_t kChains = 8, kStep = kChains * sizeof(__m512i);
  __m512i sums[kChains] = {};
  for (std::size_t at = 0; at + kStep <= bytes.size(); at += kStep)
    for (std::size_t j = 0; j < kChains; j++)
      sums[j] = _mm512_xor_si512(sums[j], _mm512_load_si512(bytes.data() + at + j * sizeof(__m512i)));
  for (std::size_t j = 1; j < kChains; j++) sums[0] = _mm512_xor_si512(sums[0], sums[j]);
  return static_cast<std::uint64_t>(_mm512_reduce_add_epi64(sums[0]));
}

}  // namespace leafcutter::kernels
