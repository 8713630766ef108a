// A thread a value.
#include "kernels/cuda/elementwise_shape.h"
#include "kernels/cuda/port.h"

namespace leafcutter::gpu {

GPU_KERNEL(lc_add, kernels::AddLaunch, kElementwiseThreads) {
  const std::uint64_t i = std::uint64_t{block_x()} * kElementwiseThreads + thread();
  if (i < a.n) at<float>(a.x)[i] += at<float>(a.y)[i];
}

}  // namespace leafcutter::gpu
