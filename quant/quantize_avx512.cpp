#include "quant/quantize_isa.h"
#include "quant/quantize_lanes.h"

namespace leafcutter::quant {

const QuantizeTable kQuantizeAvx512 = {quantize_q8, quantize_q8row, quantize_q4};

}  // namespace leafcutter::quant
