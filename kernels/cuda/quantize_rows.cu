// A row along x of the grid, its groups along y, a warp a group. The records are bit for bit those of kernels/activation_rows.h where x is finite.
#include "kernels/activation_group.h"
#include "kernels/cuda/port.h"
#include "kernels/cuda/quantize_rows_shape.h"

namespace leafcutter::gpu {

GPU_KERNEL(lc_quantize_rows, kernels::QuantizeRowsLaunch, kQuantizeThreads) {
  const std::uint64_t group = std::uint64_t{block_y()} * kQuantizeGroups + warp();
  const std::uint64_t i = group * kernels::kActivationGroup + lane();
  if (group * kernels::kActivationGroup >= a.k) return;  // the warp as a whole
  const float x = i < a.k ? at<float>(a.x)[block_x() * a.x_stride + i] : 0;

  const float largest = warp_max(absolute(x));
  const float inverse = largest > 0 && largest < 1e38f ? 127 / largest : 0;
  constexpr float kMagic = 12582912.0f;  // rounds to nearest even, |x * inverse| <= 127; the code is in the lowest byte
  const auto code = static_cast<std::int8_t>(bits_of(x * inverse + kMagic));
  const int sum = warp_sum(static_cast<int>(code));

  kernels::ActivationGroup& out = at<kernels::ActivationGroup>(a.groups)[group * a.rows + block_x()];
  out.q[lane()] = code;
  if (lane() == 0) {
    const float scale = largest < 1e38f ? largest / 127 : 0;
    out.scale = scale;
    out.sum = scale * static_cast<float>(sum);
    out.offset = -128 * sum;
    out.reserved = 0;
  }
}

}  // namespace leafcutter::gpu
