#include "kernels/strip_layout.h"

#include "base/checked.h"
#include "kernels/strip_shape.h"

namespace leafcutter::kernels {

std::uint64_t strip_bytes(Layout layout, std::uint64_t k) {
  constexpr std::uint64_t kLine = 64;
  if (const std::uint64_t bytes = float_bytes(layout)) return round_up(k * kStripRows * bytes, kLine);
  const GroupShape shape = group_shape(layout);
  if (shape.group_codes == 0) return 0;
  const std::uint64_t groups = round_up(k, kGroupWidth) / kGroupWidth;
  const std::uint64_t blocks = round_up(groups, kGroupsPerBlock) / kGroupsPerBlock;
  return shape.front + blocks * shape.block_head() + groups * shape.group_codes;
}

}  // namespace leafcutter::kernels
