#include "kernels/activation_rows.h"

namespace leafcutter::kernels {

QuantizeRows quantize_rows_kernel(Isa isa) {
  switch (isa) {
    case Isa::amx:
    case Isa::avx512vnni:
      return quantize_rows_avx512vnni;
    case Isa::avx2:
      return quantize_rows_avx2;
    case Isa::portable:
      break;
  }
  return quantize_rows_portable;
}

}  // namespace leafcutter::kernels
