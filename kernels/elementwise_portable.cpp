#include "kernels/elementwise_isa.h"
#include "kernels/elementwise_lanes.h"
#include "kernels/simd_portable.h"

namespace leafcutter::kernels {

void rms_norm_portable(const RmsNormArgs& args) { rms_norm_lanes<Simd>(args); }
void gated_activation_portable(Gate gate, float* values, const float* up, std::size_t n) {
  gated_activation_lanes<Simd>(gate, values, up, n);
}
void add_in_place_portable(float* x, const float* y, std::size_t n) { add_in_place_lanes<Simd>(x, y, n); }

}  // namespace leafcutter::kernels
