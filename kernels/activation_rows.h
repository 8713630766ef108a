// Quantizing rows of activations for the products with quantized weights (kernels/activation_group.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/activation_group.h"
#include "kernels/isa.h"

namespace leafcutter::kernels {

struct QuantizeRowsArgs {
  const float* x;          // row m begins at x + m * row_stride
  std::size_t row_stride;  // floats
  std::size_t rows;        // all rows of the block
  std::size_t k;
  std::size_t row_begin;  // rows [row_begin, row_end) are done by this call: callers share a block among threads by rows
  std::size_t row_end;
  ActivationGroup* out;  // activation_groups(k) * rows records
};

using QuantizeRows = void (*)(const QuantizeRowsArgs&);

QuantizeRows quantize_rows_kernel(Isa isa);

void quantize_rows_portable(const QuantizeRowsArgs&);
void quantize_rows_avx2(const QuantizeRowsArgs&);
void quantize_rows_avx512vnni(const QuantizeRowsArgs&);

}  // namespace leafcutter::kernels
