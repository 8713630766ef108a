#include "kernels/attention_lanes.h"
#include "kernels/simd_avx512.h"

namespace leafcutter::kernels {

void attention_avx512(const AttentionArgs& args) { attention_over_lanes<Simd>(args); }

}  // namespace leafcutter::kernels
