// One block a row. A thread adds up the squares of every 256th value; the sum's order depends on the width alone.
#include "kernels/cuda/port.h"
#include "kernels/cuda/rms_norm_shape.h"

namespace leafcutter::gpu {

GPU_KERNEL(lc_rms_norm, kernels::RmsNormLaunch, kRmsNormThreads) {
  GPU_SHARED(float, warp_sums, kRmsNormThreads / kWarp);
  const float* x = at<float>(a.x) + block_x() * a.x_stride;
  const float* weight = at<float>(a.weight);
  float* y = at<float>(a.y) + block_x() * a.y_stride;

  float squares = 0;
  for (std::uint64_t i = thread(); i < a.width; i += kRmsNormThreads) squares = fma(x[i], x[i], squares);
  squares = warp_sum(squares);
  if (lane() == 0) warp_sums[warp()] = squares;
  sync_block();
  float total = 0;
  for (unsigned w = 0; w < kRmsNormThreads / kWarp; w++) total += warp_sums[w];

  const float scale = reciprocal_sqrt(total / static_cast<float>(a.width) + a.epsilon);
  for (std::uint64_t i = thread(); i < a.width; i += kRmsNormThreads) y[i] = x[i] * scale * weight[i];
}

}  // namespace leafcutter::gpu
