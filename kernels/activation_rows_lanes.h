// Quantizing rows. The group is written once as loops that the compiler turns into the vectors of an instruction set; no operation's result depends on their width. An instruction set
// that knows better brings its own group, with the same operations on each element.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/activation_rows.h"

namespace leafcutter::kernels {
namespace {

// Round to nearest, ties to even, by the adder: |v| <= 127 here. NaN becomes some small number.
inline void quantize_group(const float* x, ActivationGroup& group) {
  float largest = 0;
  for (std::size_t i = 0; i < kActivationGroup; i++) {
    const float magnitude = std::fabs(x[i]);
    largest = magnitude > largest ? magnitude : largest;
  }
  const float inverse = largest > 0 && largest < 1e38f ? 127 / largest : 0;
  std::int32_t sum = 0;
  for (std::size_t i = 0; i < kActivationGroup; i++) {
    constexpr float kMagic = 12582912.0f;
    const float shifted = x[i] * inverse + kMagic;
    std::int32_t bits;
    std::memcpy(&bits, &shifted, sizeof bits);
    const auto code = static_cast<std::int8_t>(bits);
    group.q[i] = code;
    sum += code;
  }
  group.scale = largest < 1e38f ? largest / 127 : 0;
  group.sum = group.scale * static_cast<float>(sum);
  group.offset = -128 * sum;
  group.reserved = 0;
}

template <void (*kGroup)(const float*, ActivationGroup&) = quantize_group>
void quantize_rows_lanes(const QuantizeRowsArgs& a) {
  const std::size_t groups = activation_groups(a.k);
  for (std::size_t m = a.row_begin; m < a.row_end; m++) {
    const float* x = a.x + m * a.row_stride;
    for (std::size_t g = 0; g < groups; g++) {
      const std::size_t begin = g * kActivationGroup;
      if (begin + kActivationGroup <= a.k) {
        kGroup(x + begin, a.out[g * a.rows + m]);
      } else {
        float rest[kActivationGroup] = {};
        std::copy(x + begin, x + a.k, rest);
        kGroup(rest, a.out[g * a.rows + m]);
      }
    }
  }
}

}  // namespace
}  // namespace leafcutter::kernels
