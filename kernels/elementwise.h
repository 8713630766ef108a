// Small row operations between the matrix products: all O(width), fixed order, in place allowed where x and y have one type.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/gate.h"
#include "kernels/isa.h"
#include "kernels/ranked.h"

namespace leafcutter::kernels {

// RMS normalisation (Zhang and Sennrich 2019): y[r][i] = x[r][i] * weight[i] / sqrt(mean_i(x^2) + epsilon). Strides in floats.
struct RmsNormArgs {
  const float* x;
  const float* weight;
  float* y;
  std::size_t rows, width, x_stride, y_stride;
  float epsilon;
};
using RmsNorm = void (*)(const RmsNormArgs&);

// gate[i] = act(gate[i]) * up[i]
using GatedActivation = void (*)(Gate gate, float* gate_values, const float* up, std::size_t n);

// x[i] += y[i]
using AddInPlace = void (*)(float* x, const float* y, std::size_t n);

RmsNorm rms_norm_kernel(Isa isa);
GatedActivation gated_activation_kernel(Isa isa);
AddInPlace add_in_place_kernel(Isa isa);

void rms_norm_reference(const RmsNormArgs&);                                                     // double
void gated_activation_reference(Gate gate, float* gate_values, const float* up, std::size_t n);  // double

// Reductions over logits. NaN counts as smaller than everything; ties go to the smaller index.
std::size_t arg_max(std::span<const float> values);
// log(sum(exp(values))), sums in double.
double log_sum_exp(std::span<const float> values);
// The k largest values, largest first, ties to the smaller index. k is cut to values.size().
std::size_t top_k(std::span<const float> values, std::span<Ranked> out);  // fills out, gives how many

}  // namespace leafcutter::kernels
