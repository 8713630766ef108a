#include "kernels/cuda/rotate_shape.h"

#include "kernels/cuda/launch_family.h"

namespace leafcutter::gpu {
namespace {

constexpr const char* kFunctions[] = {"lc_rotate"};

LaunchShape shape(const kernels::RotateLaunch& a) {
  return {kFunctions[0],
          {grid_for(kFunctions[0], a.rows, 1), grid_y_for(kFunctions[0], a.heads * a.half, kRotateThreads), 1},
          kRotateThreads,
          0};
}

}  // namespace

constinit const LaunchFamily kRotateFamily = launch_family<kernels::RotateLaunch, shape>(kFunctions);

}  // namespace leafcutter::gpu
