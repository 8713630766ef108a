#include "kernels/activation_rows_lanes.h"

namespace leafcutter::kernels {

void quantize_rows_portable(const QuantizeRowsArgs& args) { quantize_rows_lanes(args); }

}  // namespace leafcutter::kernels
