#include "kernels/elementwise_isa.h"
#include "kernels/elementwise_lanes.h"
#include "kernels/simd_avx512.h"

namespace leafcutter::kernels {

void rms_norm_avx512(const RmsNormArgs& args) { rms_norm_lanes<Simd>(args); }
void gated_activation_avx512(Gate gate, float* values, const float* up, std::size_t n) {
  gated_activation_lanes<Simd>(gate, values, up, n);
}
void add_in_place_avx512(float* x, const float* y, std::size_t n) { add_in_place_lanes<Simd>(x, y, n); }

}  // namespace leafcutter::kernels
