// The numbers of strip_layout.h that kernels, encoders and readers compute with; docs/weight-layouts.md has them as byte tables.
#pragma once

#include <cstddef>

#include "kernels/strip_layout.h"

namespace leafcutter::kernels {

constexpr std::size_t kGroupWidth = 32;     // k of one scale
constexpr std::size_t kGroupsPerBlock = 4;  // a block is the heads of 4 groups, then their codes

enum class GroupScale { none, u8, half };

// Of the quantized layouts. A strip: `front` bytes, then blocks of [4 heads of group_head bytes][up to 4 x group_codes bytes].
// The last block keeps all 4 heads, and codes of the groups that exist.
struct GroupShape {
  std::size_t front;
  std::size_t group_head;
  std::size_t group_codes;
  int bits;          // of a code
  int zero;          // code of weight 0 when there are no minima
  GroupScale scale;  // kind of the scales and minima in the head
  bool minima;       // a head is 16 scales, then 16 minima
  bool row_floats;   // D (and M with minima) in front

  constexpr std::size_t block_head() const { return kGroupsPerBlock * group_head; }
  constexpr std::size_t block_bytes() const { return block_head() + kGroupsPerBlock * group_codes; }
};

// group_codes is 0 for layouts without groups.
constexpr GroupShape group_shape(Layout layout) {
  switch (layout) {
    case Layout::q8:
      return {128, 16, 512, 8, 128, GroupScale::u8, false, true};
    case Layout::q8row:
      return {64, 0, 512, 8, 128, GroupScale::none, false, true};
    case Layout::q4:
      return {128, 32, 256, 4, 0, GroupScale::u8, true, true};
    case Layout::q8_0:
      return {0, 32, 512, 8, 128, GroupScale::half, false, false};
    case Layout::q4_0:
      return {0, 32, 256, 4, 8, GroupScale::half, false, false};
    case Layout::q4_1:
      return {0, 64, 256, 4, 0, GroupScale::half, true, false};
    case Layout::plain:
    case Layout::f32:
    case Layout::f16:
    case Layout::bf16:
      break;
  }
  return {};
}

// Bytes of one value of a float layout; 0 for the others.
constexpr std::size_t float_bytes(Layout layout) {
  switch (layout) {
    case Layout::f32:
      return 4;
    case Layout::f16:
    case Layout::bf16:
      return 2;
    default:
      return 0;
  }
}

}  // namespace leafcutter::kernels
