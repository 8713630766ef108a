#include "kernels/cuda/quantize_rows_shape.h"

#include "kernels/activation_group.h"
#include "kernels/cuda/launch_family.h"

namespace leafcutter::gpu {
namespace {

constexpr const char* kFunctions[] = {"lc_quantize_rows"};

LaunchShape shape(const kernels::QuantizeRowsLaunch& a) {
  const std::uint32_t groups = grid_y_for(kFunctions[0], kernels::activation_groups(a.k), kQuantizeGroups);
  return {kFunctions[0], {grid_for(kFunctions[0], a.rows, 1), groups, 1}, kQuantizeThreads, 0};
}

}  // namespace

constinit const LaunchFamily kQuantizeRowsFamily = launch_family<kernels::QuantizeRowsLaunch, shape>(kFunctions);

}  // namespace leafcutter::gpu
