#include "kernels/cuda/launch_shape.h"

#include <string>

#include "base/error.h"
#include "kernels/cuda/launch_family.h"

namespace leafcutter::gpu {
namespace {

constexpr const LaunchFamily* kFamilies[] = {
    &kRmsNormFamily, &kQuantizeRowsFamily, &kProductFamily,      &kRotateFamily,    &kStoreKvFamily,    &kAttendFamily,    &kGateFamily,
    &kAddFamily,     &kRankFamily,         &kUnpackStripsFamily, &kHalveRowsFamily, &kFinishRowsFamily, &kFetchRowsFamily,
};

std::uint32_t blocks_for(const char* function, std::uint64_t n, std::uint64_t per_block, std::uint32_t most) {
  const std::uint64_t blocks = n / per_block + (n % per_block != 0);
  if (blocks > most)
    throw Error(ErrorKind::device, function,
                "needs " + std::to_string(blocks) + " blocks, a launch has " + std::to_string(most) + " at most", "use fewer rows a step");
  return static_cast<std::uint32_t>(blocks);
}

}  // namespace

std::uint32_t grid_for(const char* function, std::uint64_t n, std::uint64_t per_block) {
  return blocks_for(function, n, per_block, kMostGridX);
}
std::uint32_t grid_y_for(const char* function, std::uint64_t n, std::uint64_t per_block) {
  return blocks_for(function, n, per_block, kMostGridYz);
}

LaunchShape launch_shape(kernels::DeviceKernel kernel, const void* arguments) {
  for (const LaunchFamily* family : kFamilies)
    if (family->kernel == kernel) return family->shape(arguments);
  throw Error(ErrorKind::device, "kernel " + std::to_string(static_cast<int>(kernel)), "there is no CUDA kernel for it",
              "use --device cpu");
}

std::vector<const char*> device_functions() {
  std::vector<const char*> all;
  for (const LaunchFamily* family : kFamilies) all.insert(all.end(), family->functions.begin(), family->functions.end());
  return all;
}

}  // namespace leafcutter::gpu
