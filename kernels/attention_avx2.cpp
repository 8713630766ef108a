#include "kernels/attention_lanes.h"
#include "kernels/simd_avx2.h"

namespace leafcutter::kernels {

void attention_avx2(const AttentionArgs& args) { attention_over_lanes<Simd>(args); }

}  // namespace leafcutter::kernels
