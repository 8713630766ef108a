// The instruction sets of elementwise.h.
#pragma once

#include "kernels/elementwise.h"

namespace leafcutter::kernels {

void rms_norm_portable(const RmsNormArgs& args);
void rms_norm_avx2(const RmsNormArgs& args);
void rms_norm_avx512(const RmsNormArgs& args);
void gated_activation_portable(Gate gate, float* values, const float* up, std::size_t n);
void gated_activation_avx2(Gate gate, float* values, const float* up, std::size_t n);
void gated_activation_avx512(Gate gate, float* values, const float* up, std::size_t n);
void add_in_place_portable(float* x, const float* y, std::size_t n);
void add_in_place_avx2(float* x, const float* y, std::size_t n);
void add_in_place_avx512(float* x, const float* y, std::size_t n);

}  // namespace leafcutter::kernels
