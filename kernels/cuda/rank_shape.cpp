#include "kernels/cuda/rank_shape.h"

#include <string>

#include "base/error.h"
#include "kernels/cuda/launch_family.h"

namespace leafcutter::gpu {
namespace {

constexpr const char* kFunctions[] = {"lc_rank"};

LaunchShape shape(const kernels::RankLaunch& a) {
  if (a.k > a.width || a.width > 0xffffffff)
    throw Error(ErrorKind::device, kFunctions[0],
                "expected the best of at most 4294967295 values, found " + std::to_string(a.k) + " of " + std::to_string(a.width));
  return {kFunctions[0], {a.k == 0 ? 0 : grid_for(kFunctions[0], a.rows, 1), 1, 1}, kRankThreads, 0};
}

}  // namespace

constinit const LaunchFamily kRankFamily = launch_family<kernels::RankLaunch, shape>(kFunctions);

}  // namespace leafcutter::gpu
