// The instruction sets of matmul.h; null for layouts without a kernel. And the one list of the layouts that have one.
#pragma once

#include "kernels/matmul.h"

namespace leafcutter::kernels {

Matmul matmul_portable(Layout layout);
Matmul matmul_avx2(Layout layout);
Matmul matmul_avx512(Layout layout);
Matmul matmul_amx(Layout layout);

// kernel.operator()<Layout>() of a layout that is known when the program runs; null for layouts without a kernel.
template <class Kernel>
Matmul kernel_of(Layout layout, const Kernel& kernel) {
  switch (layout) {
    case Layout::f32:
      return kernel.template operator()<Layout::f32>();
    case Layout::f16:
      return kernel.template operator()<Layout::f16>();
    case Layout::bf16:
      return kernel.template operator()<Layout::bf16>();
    case Layout::q8:
      return kernel.template operator()<Layout::q8>();
    case Layout::q8row:
      return kernel.template operator()<Layout::q8row>();
    case Layout::q4:
      return kernel.template operator()<Layout::q4>();
    case Layout::q8_0:
      return kernel.template operator()<Layout::q8_0>();
    case Layout::q4_0:
      return kernel.template operator()<Layout::q4_0>();
    case Layout::q4_1:
      return kernel.template operator()<Layout::q4_1>();
    case Layout::plain:
      break;
  }
  return nullptr;
}

}  // namespace leafcutter::kernels
