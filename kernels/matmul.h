// Matrix product of R rows of activations with strips of weights, one family for every layout; R = 1 is the decode of one token.
//
//   y[m][16 s + r] = factor * sum_k weight[16 s + r][k] * x[m][k] + bias[16 s + r]       s in [0, strips), outputs past `outputs` are not written
//
// Quantized layouts read x as ActivationGroup records, float layouts (f32, f16, bf16) as floats. Sums over k run in a fixed order that depends on k and
// the layout alone: a result does not depend on the other rows of the block, on how strips are shared, or on the number of rows (GEMV and GEMM agree
// bit for bit). Against a double reference over the same records: see tests/kernels/matmul_test.cpp.
#pragma once

#include <cstddef>

#include "kernels/activation_rows.h"
#include "kernels/isa.h"
#include "kernels/strip_layout.h"

namespace leafcutter::kernels {

struct MatmulArgs {
  const std::byte* weights;       // first strip, 64-byte aligned
  std::size_t k;                  // true input width
  std::size_t strips;             // how many to compute
  std::size_t outputs;            // <= 16 * strips: outputs of the last strip past this are padding
  const ActivationGroup* groups;  // [activation_groups(k)][rows], for quantized layouts
  const float* x;                 // row m at x + m * x_stride, k floats, for float layouts
  std::size_t x_stride;
  std::size_t rows;
  float factor;       // stored divisor's reciprocal, 1 for Hugging Face files
  const float* bias;  // `outputs` floats or null
  float* y;           // y[m * y_stride + 16 s + r]
  std::size_t y_stride;
};

using Matmul = void (*)(const MatmulArgs&);

bool takes_groups(Layout layout);  // does it read ActivationGroup records?

// The kernel of a layout on an instruction set; null where there is none (plain, unknown ids).
Matmul matmul_kernel(Layout layout, Isa isa);

// Decodes in double and sums in double: what tests compare with.
void matmul_reference(Layout layout, const MatmulArgs& args);

// weights[rows 0..15][k] of one strip as floats, out[r * k + i]: the meaning of the bytes, as plain code. For tests.
void decode_strip(Layout layout, const std::byte* strip, std::size_t k, float* out);
// The same, bit for bit, for one row of the strip, out[0..k), at a nanosecond or two a value.
void decode_strip_row(Layout layout, const std::byte* strip, std::size_t k, std::size_t row, float* out);

}  // namespace leafcutter::kernels
