#include "kernels/attention_lanes.h"
#include "kernels/simd_portable.h"

namespace leafcutter::kernels {

void attention_portable(const AttentionArgs& args) { attention_over_lanes<Simd>(args); }

}  // namespace leafcutter::kernels
