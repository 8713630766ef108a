#include "kernels/elementwise.h"

#include "kernels/elementwise_isa.h"

namespace leafcutter::kernels {

RmsNorm rms_norm_kernel(Isa isa) {
  switch (isa) {
    case Isa::amx:
    case Isa::avx512vnni:
      return rms_norm_avx512;
    case Isa::avx2:
      return rms_norm_avx2;
    case Isa::portable:
      break;
  }
  return rms_norm_portable;
}

GatedActivation gated_activation_kernel(Isa isa) {
  switch (isa) {
    case Isa::amx:
    case Isa::avx512vnni:
      return gated_activation_avx512;
    case Isa::avx2:
      return gated_activation_avx2;
    case Isa::portable:
      break;
  }
  return gated_activation_portable;
}

AddInPlace add_in_place_kernel(Isa isa) {
  switch (isa) {
    case Isa::amx:
    case Isa::avx512vnni:
      return add_in_place_avx512;
    case Isa::avx2:
      return add_in_place_avx2;
    case Isa::portable:
      break;
  }
  return add_in_place_portable;
}

}  // namespace leafcutter::kernels
