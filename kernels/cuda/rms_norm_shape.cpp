#include "kernels/cuda/rms_norm_shape.h"

#include "kernels/cuda/launch_family.h"

namespace leafcutter::gpu {
namespace {

constexpr const char* kFunctions[] = {"lc_rms_norm"};

LaunchShape shape(const kernels::RmsNormLaunch& a) {
  return {kFunctions[0], {grid_for(kFunctions[0], a.rows, 1), 1, 1}, kRmsNormThreads, 0};
}

}  // namespace

constinit const LaunchFamily kRmsNormFamily = launch_family<kernels::RmsNormLaunch, shape>(kFunctions);

}  // namespace leafcutter::gpu
