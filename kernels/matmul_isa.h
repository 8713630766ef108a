// The instruction sets of matmul.h; null for layouts without a kernel.
#pragma once

#include "kernels/matmul.h"

namespace leafcutter::kernels {

Matmul matmul_portable(Layout layout);
Matmul matmul_avx2(Layout layout);
Matmul matmul_avx512(Layout layout);
Matmul matmul_amx(Layout layout);

}  // namespace leafcutter::kernels
