// A row along x of the grid, its pairs along y, a thread a pair.
#include "kernels/cuda/port.h"
#include "kernels/cuda/rotate_shape.h"

namespace leafcutter::gpu {

GPU_KERNEL(lc_rotate, kernels::RotateLaunch, kRotateThreads) {
  const unsigned pair = block_y() * kRotateThreads + thread(), half = static_cast<unsigned>(a.half);
  const unsigned head = pair / half, i = pair % half;
  if (head >= a.heads) return;
  float* x = at<float>(a.x) + block_x() * a.x_stride + head * a.head_dim + i;
  const std::uint64_t angle = block_x() * a.half + i;
  const float cos = at<float>(a.cos)[angle], sin = at<float>(a.sin)[angle];
  const float first = x[0], second = x[half];
  x[0] = first * cos - second * sin;
  x[half] = second * cos + first * sin;
}

}  // namespace leafcutter::gpu
