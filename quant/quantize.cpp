#include "quant/encoders.h"
#include "quant/quantize_isa.h"

namespace leafcutter::quant {

const QuantizeTable& quantize_table(kernels::Isa isa) {
  switch (isa) {
    case kernels::Isa::amx:
    case kernels::Isa::avx512vnni:
      return kQuantizeAvx512;
    case kernels::Isa::avx2:
      return kQuantizeAvx2;
    case kernels::Isa::portable:
      break;
  }
  return kQuantizePortable;
}

void encode_q8(const float* rows, std::size_t k, std::byte* out) { quantize_table(kernels::default_isa()).q8(rows, k, out); }
void encode_q8row(const float* rows, std::size_t k, std::byte* out) { quantize_table(kernels::default_isa()).q8row(rows, k, out); }
void encode_q4(const float* rows, std::size_t k, std::byte* out) { quantize_table(kernels::default_isa()).q4(rows, k, out); }

}  // namespace leafcutter::quant
