#include "kernels/matmul.h"

#include "kernels/matmul_isa.h"
#include "kernels/strip_shape.h"

namespace leafcutter::kernels {

bool takes_groups(Layout layout) { return group_shape(layout).group_codes > 0; }

Matmul matmul_kernel(Layout layout, Isa) { return matmul_portable(layout); }

}  // namespace leafcutter::kernels
