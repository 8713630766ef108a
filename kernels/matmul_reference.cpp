// The meaning of the bytes as plain code (docs/weight-layouts.md), independent of the kernels.
#include <cassert>
#include <cstring>
#include <vector>

#include "base/half.h"
#include "kernels/matmul.h"
#include "kernels/strip_shape.h"

namespace leafcutter::kernels {
namespace {

template <class T>
T load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

double group_weight(const GroupShape& shape, const std::byte* strip, std::size_t r, std::size_t i) {
  const std::size_t g = i / kGroupWidth, s = g % kGroupsPerBlock;
  const std::byte* block = strip + shape.front + g / kGroupsPerBlock * shape.block_bytes();
  const std::byte* head = block + s * shape.group_head;
  const std::byte* codes = block + shape.block_head() + s * shape.group_codes;
  const std::size_t j = i % kGroupWidth;
  int code;
  if (shape.bits == 8) {
    code = std::to_integer<int>(codes[64 * (j / 4) + 4 * r + j % 4]);
  } else {
    const int pair = std::to_integer<int>(codes[64 * (j / 8) + 4 * r + j % 4]);
    code = j % 8 < 4 ? pair & 15 : pair >> 4;
  }
  double scale = 1, minimum = 0;
  if (shape.scale == GroupScale::u8) {
    scale = std::to_integer<int>(head[r]);
    if (shape.minima) minimum = std::to_integer<int>(head[kStripRows + r]);
  } else if (shape.scale == GroupScale::half) {
    scale = float_from_half(load<std::uint16_t>(head + 2 * r));
    if (shape.minima) minimum = float_from_half(load<std::uint16_t>(head + 32 + 2 * r));
  }
  if (!shape.row_floats) return shape.minima ? scale * code + minimum : scale * (code - shape.zero);
  const double d = load<float>(strip + 4 * r);
  return shape.minima ? d * scale * code - load<float>(strip + 64 + 4 * r) * minimum : d * scale * (code - shape.zero);
}

double weight(Layout layout, const std::byte* strip, std::size_t r, std::size_t i) {
  switch (layout) {
    case Layout::f32:
      return load<float>(strip + 64 * i + 4 * r);
    case Layout::f16:
      return float_from_half(load<std::uint16_t>(strip + 32 * i + 2 * r));
    case Layout::bf16:
      return float_from_bf16(load<std::uint16_t>(strip + 32 * i + 2 * r));
    default:
      return group_weight(group_shape(layout), strip, r, i);
  }
}

}  // namespace

void matmul_reference(Layout layout, const MatmulArgs& a) {
  const std::size_t bytes = strip_bytes(layout, a.k);
  for (std::size_t o = 0; o < a.outputs; o++)
    for (std::size_t m = 0; m < a.rows; m++) {
      double sum = 0;
      for (std::size_t i = 0; i < a.k; i++) {
        double x;
        if (takes_groups(layout)) {
          const ActivationGroup& group = a.groups[i / kActivationGroup * a.rows + m];
          x = double{group.scale} * group.q[i % kActivationGroup];
        } else {
          x = a.x[m * a.x_stride + i];
        }
        sum += weight(layout, a.weights + o / kStripRows * bytes, o % kStripRows, i) * x;
      }
      a.y[m * a.y_stride + o] = static_cast<float>(a.factor * sum + (a.bias ? a.bias[o] : 0));
    }
}

void decode_strip(Layout layout, const std::byte* strip, std::size_t k, float* out) {
  for (std::size_t r = 0; r < kStripRows; r++)
    for (std::size_t i = 0; i < k; i++) out[r * k + i] = static_cast<float>(weight(layout, strip, r, i));
}

}  // namespace leafcutter::kernels
