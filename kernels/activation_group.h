// The right-hand side of a quantized matrix product: rows of activations as int8 in groups of 32 along k, one record for every weight format
// and instruction set. The sum serves the minima of the weight formats, the offset their code of zero (128, or a sixteenth of it for 4 bits).
//
// For row m and group g (k = 32 g .. 32 g + 31): scale = max|x| / 127, q = round-to-nearest-even(x / scale), sum = scale * (q[0] + ... + q[31]), offset = -128 * (q[0] + ... + q[31]).
// A group of zeros has scale 0. Values past k in the last group count as 0. A non-finite x gives an unspecified but safe record.
// Records lie group-major: rows of one group side by side (record [g * rows + m]), so that a block of rows is read as one stream.
// A row's records depend on that row alone.
#pragma once

#include <cstddef>
#include <cstdint>

namespace leafcutter::kernels {

constexpr std::size_t kActivationGroup = 32;

struct ActivationGroup {
  std::int8_t q[kActivationGroup];
  float scale;
  float sum;
  std::int32_t offset;
  std::int32_t reserved;  // 0; keeps records at multiples of 16 bytes
};
static_assert(sizeof(ActivationGroup) == 48);

constexpr std::size_t activation_groups(std::size_t k) { return (k + kActivationGroup - 1) / kActivationGroup; }

}  // namespace leafcutter::kernels
