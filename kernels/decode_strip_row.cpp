// One row of a strip as floats: what a token's embedding is looked up with, once a token and once a row of a prompt. The same doubles, in the same order, as the plain code of matmul_reference.cpp, which tests hold
// against it bit for bit; here what a group shares is read once.
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "base/half.h"
#include "kernels/matmul.h"
#include "kernels/strip_shape.h"

namespace leafcutter::kernels {
namespace {

template <class T>
T value_at(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

// weight = factor * (code - zero) + offset
struct GroupTerms {
  double factor = 1;
  double offset = -0.0;  // which leaves every number as it is, zeros of either sign too
};

GroupTerms terms_of(const GroupShape& shape, const std::byte* strip, const std::byte* head, std::size_t row) {
  GroupTerms terms;
  double minimum = 0;
  if (shape.scale == GroupScale::u8) {
    terms.factor = std::to_integer<int>(head[row]);
    if (shape.minima) minimum = std::to_integer<int>(head[kStripRows + row]);
  } else if (shape.scale == GroupScale::half) {
    terms.factor = float_from_half(value_at<std::uint16_t>(head + 2 * row));
    if (shape.minima) minimum = float_from_half(value_at<std::uint16_t>(head + 32 + 2 * row));
  }
  if (shape.row_floats) terms.factor = value_at<float>(strip + 4 * row) * terms.factor;
  if (shape.minima) terms.offset = shape.row_floats ? -(value_at<float>(strip + 64 + 4 * row) * minimum) : minimum;
  return terms;
}

// All 32 values of a group, whose codes lie in lines of 4 bytes for each of the 16 rows.
void decode_group(const GroupShape& shape, const std::byte* codes, const GroupTerms& terms, std::size_t row, float* out) {
  const int zero = shape.minima ? 0 : shape.zero;
  const auto weight = [&](int code) { return static_cast<float>(terms.factor * (code - zero) + terms.offset); };
  for (std::size_t line = 0; line * 64 < shape.group_codes; line++) {
    const std::byte* four = codes + 64 * line + 4 * row;
    if (shape.bits == 8) {
      for (std::size_t j = 0; j < 4; j++) out[4 * line + j] = weight(std::to_integer<int>(four[j]));
    } else {
      for (std::size_t j = 0; j < 4; j++) out[8 * line + j] = weight(std::to_integer<int>(four[j] & std::byte{15}));
      for (std::size_t j = 0; j < 4; j++) out[8 * line + 4 + j] = weight(std::to_integer<int>(four[j] >> 4));
    }
  }
}

void decode_groups(const GroupShape& shape, const std::byte* strip, std::size_t k, std::size_t row, float* out) {
  for (std::size_t group = 0, begin = 0; begin < k; group++, begin += kGroupWidth) {
    const std::byte* block = strip + shape.front + group / kGroupsPerBlock * shape.block_bytes();
    const std::size_t in_block = group % kGroupsPerBlock;
    const GroupTerms terms = terms_of(shape, strip, block + in_block * shape.group_head, row);
    const std::byte* codes = block + shape.block_head() + in_block * shape.group_codes;
    if (k - begin >= kGroupWidth) {
      decode_group(shape, codes, terms, row, out + begin);
      continue;
    }
    float last[kGroupWidth];
    decode_group(shape, codes, terms, row, last);
    std::copy_n(last, k - begin, out + begin);
  }
}

}  // namespace

void decode_strip_row(Layout layout, const std::byte* strip, std::size_t k, std::size_t row, float* out) {
  switch (layout) {
    case Layout::f32:
      for (std::size_t i = 0; i < k; i++) out[i] = value_at<float>(strip + 64 * i + 4 * row);
      break;
    case Layout::f16:
      for (std::size_t i = 0; i < k; i++) out[i] = float_from_half(value_at<std::uint16_t>(strip + 32 * i + 2 * row));
      break;
    case Layout::bf16:
      for (std::size_t i = 0; i < k; i++) out[i] = float_from_bf16(value_at<std::uint16_t>(strip + 32 * i + 2 * row));
      break;
    default:
      decode_groups(group_shape(layout), strip, k, row, out);
  }
}

}  // namespace leafcutter::kernels
