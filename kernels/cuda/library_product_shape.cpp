#include "kernels/cuda/library_product_shape.h"

#include "kernels/cuda/launch_family.h"

namespace leafcutter::gpu {
namespace {

constexpr const char* kUnpack[] = {"lc_unpack_strips"};
constexpr const char* kHalve[] = {"lc_halve_rows"};
constexpr const char* kFinish[] = {"lc_finish_rows"};

LaunchShape unpack_shape(const kernels::UnpackStripsLaunch& a) {
  return {kUnpack[0], {grid_for(kUnpack[0], a.k, kUnpackLines), grid_y_for(kUnpack[0], a.strips, kUnpackStrips), 1}, kUnpackThreads, 0};
}
LaunchShape halve_shape(const kernels::HalveRowsLaunch& a) { return {kHalve[0], {grid_for(kHalve[0], a.rows, 1), 1, 1}, kHalveThreads, 0}; }
LaunchShape finish_shape(const kernels::FinishRowsLaunch& a) {
  return {kFinish[0], {grid_for(kFinish[0], a.rows, 1), grid_y_for(kFinish[0], a.outputs, kFinishThreads), 1}, kFinishThreads, 0};
}

}  // namespace

constinit const LaunchFamily kUnpackStripsFamily = launch_family<kernels::UnpackStripsLaunch, unpack_shape>(kUnpack);
constinit const LaunchFamily kHalveRowsFamily = launch_family<kernels::HalveRowsLaunch, halve_shape>(kHalve);
constinit const LaunchFamily kFinishRowsFamily = launch_family<kernels::FinishRowsLaunch, finish_shape>(kFinish);

}  // namespace leafcutter::gpu
