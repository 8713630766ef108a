#include "kernels/attention.h"

#include "kernels/attention_blocks.h"

namespace leafcutter::kernels {

std::size_t attention_scratch_floats(std::size_t head_dim, std::size_t) {
  const std::size_t padded = padded_head_dim(head_dim);
  return padded * (2 * kKeyBlock + kQueryBlock) + kQueryTile * kKeyBlock;
}

Attention attention_kernel(Isa isa) {
  switch (isa) {
    case Isa::amx:
    case Isa::avx512vnni:
      return attention_avx512;
    case Isa::avx2:
      return attention_avx2;
    case Isa::portable:
      break;
  }
  return attention_portable;
}

}  // namespace leafcutter::kernels
