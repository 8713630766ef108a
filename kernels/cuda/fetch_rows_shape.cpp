#include "kernels/cuda/fetch_rows_shape.h"

#include "kernels/cuda/launch_family.h"

namespace leafcutter::gpu {
namespace {

constexpr const char* kFunctions[] = {"lc_fetch_rows"};
constexpr std::uint64_t kWord = 4;

LaunchShape shape(const kernels::FetchRowsLaunch& a) {
  return {kFunctions[0],
          {grid_for(kFunctions[0], a.row_bytes / kWord, kFetchThreads), grid_y_for(kFunctions[0], a.rows, 1), 1},
          kFetchThreads,
          0};
}

}  // namespace

constinit const LaunchFamily kFetchRowsFamily = launch_family<kernels::FetchRowsLaunch, shape>(kFunctions);

}  // namespace leafcutter::gpu
