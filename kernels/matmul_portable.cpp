// Products for any x86-64: clear before fast; the other instruction sets are for speed.
#include <cmath>
#include <cstring>
#include <vector>

#include "base/half.h"
#include "kernels/float_matmul_lanes.h"
#include "kernels/matmul_isa.h"
#include "kernels/simd_portable.h"
#include "kernels/strip_shape.h"

namespace leafcutter::kernels {
namespace {

template <class T>
T load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

void store(const MatmulArgs& a, std::size_t strip, std::size_t m, const float* sums) {
  for (std::size_t r = 0; r < kStripRows && strip * kStripRows + r < a.outputs; r++) {
    const std::size_t o = strip * kStripRows + r;
    a.y[m * a.y_stride + o] = a.factor * sums[r] + (a.bias ? a.bias[o] : 0);
  }
}

template <Layout kLayout>
void group_matmul(const MatmulArgs& a) {
  constexpr GroupShape kShape = group_shape(kLayout);
  const std::size_t bytes = strip_bytes(kLayout, a.k), groups = activation_groups(a.k);
  for (std::size_t s = 0; s < a.strips; s++) {
    const std::byte* strip = a.weights + s * bytes;
    for (std::size_t m = 0; m < a.rows; m++) {
      float scaled[kStripRows] = {}, shifted[kStripRows] = {};
      for (std::size_t g = 0; g < groups; g++) {
        const std::byte* block = strip + kShape.front + g / kGroupsPerBlock * kShape.block_bytes();
        const std::byte* head = block + g % kGroupsPerBlock * kShape.group_head;
        const std::byte* codes = block + kShape.block_head() + g % kGroupsPerBlock * kShape.group_codes;
        const ActivationGroup& x = a.groups[g * a.rows + m];
        for (std::size_t r = 0; r < kStripRows; r++) {
          std::int32_t dot = 0;
          for (std::size_t j = 0; j < kGroupWidth; j++) {
            if constexpr (kShape.bits == 8) {
              dot += (std::to_integer<int>(codes[64 * (j / 4) + 4 * r + j % 4]) - kShape.zero) * x.q[j];
            } else {
              const int pair = std::to_integer<int>(codes[64 * (j / 8) + 4 * r + j % 4]);
              dot += ((j % 8 < 4 ? pair & 15 : pair >> 4) - kShape.zero) * x.q[j];
            }
          }
          float scale = 1, minimum = 0;
          if constexpr (kShape.scale == GroupScale::u8) scale = static_cast<float>(std::to_integer<int>(head[r]));
          if constexpr (kShape.scale == GroupScale::half) scale = float_from_half(load<std::uint16_t>(head + 2 * r));
          scaled[r] += static_cast<float>(dot) * (scale * x.scale);
          if constexpr (kShape.minima) {
            if constexpr (kShape.scale == GroupScale::u8) minimum = static_cast<float>(std::to_integer<int>(head[kStripRows + r]));
            if constexpr (kShape.scale == GroupScale::half) minimum = float_from_half(load<std::uint16_t>(head + 32 + 2 * r));
            shifted[r] += minimum * x.sum;
          }
        }
      }
      float sums[kStripRows];
      for (std::size_t r = 0; r < kStripRows; r++) {
        if constexpr (!kShape.row_floats)
          sums[r] = scaled[r] + shifted[r];
        else if constexpr (kShape.minima)
          sums[r] = load<float>(strip + 4 * r) * scaled[r] - load<float>(strip + 64 + 4 * r) * shifted[r];
        else
          sums[r] = load<float>(strip + 4 * r) * scaled[r];
      }
      store(a, s, m, sums);
    }
  }
}

}  // namespace

Matmul matmul_portable(Layout layout) {
  return kernel_of(layout, []<Layout kLayout>() -> Matmul {
    if constexpr (group_shape(kLayout).group_codes > 0)
      return group_matmul<kLayout>;
    else
      return float_matmul_lanes<Simd, kLayout>;
  });
}

}  // namespace leafcutter::kernels
