// The quantizers of each instruction set.
#pragma once

#include "kernels/isa.h"
#include "quant/format.h"

namespace leafcutter::quant {

struct QuantizeTable {
  EncodeStrip q8, q8row, q4;
};

extern const QuantizeTable kQuantizePortable, kQuantizeAvx2, kQuantizeAvx512;

const QuantizeTable& quantize_table(kernels::Isa isa);

}  // namespace leafcutter::quant
