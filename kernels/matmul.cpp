#include "kernels/matmul.h"

#include "kernels/matmul_isa.h"
#include "kernels/strip_shape.h"

namespace leafcutter::kernels {

bool takes_groups(Layout layout) { return group_shape(layout).group_codes > 0; }

Matmul matmul_kernel(Layout layout, Isa isa) {
  switch (isa) {
    case Isa::amx:
      return matmul_amx(layout);
    case Isa::avx512vnni:
      return matmul_avx512(layout);
    case Isa::avx2:
      return matmul_avx2(layout);
    case Isa::portable:
      break;
  }
  return matmul_portable(layout);
}

}  // namespace leafcutter::kernels
