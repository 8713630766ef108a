#include "kernels/read_probe.h"

#include "kernels/isa.h"
#include "kernels/read_probe_isa.h"

namespace leafcutter::kernels {

std::uint64_t read_all_portable(std::span<const std::byte> bytes) {
  std::uint64_t sums[8] = {};
  const auto* words = reinterpret_cast<const std::uint64_t*>(bytes.data());
  for (std::size_t i = 0; i + 8 <= bytes.size() / 64 * 8; i += 8)
    for (std::size_t j = 0; j < 8; j++) sums[j] ^= words[i + j];
  std::uint64_t all = 0;
  for (const std::uint64_t sum : sums) all ^= sum;
  return all;
}

std::uint64_t read_all(std::span<const std::byte> bytes) {
  switch (default_isa()) {
    case Isa::amx:
    case Isa::avx512vnni:
      return read_all_avx512(bytes);
    case Isa::avx2:
      return read_all_avx2(bytes);
    case Isa::portable:
      break;
  }
  return read_all_portable(bytes);
}

}  // namespace leafcutter::kernels
