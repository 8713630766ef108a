// A row of the table of launch_shape.cpp.
#pragma once

#include <span>

#include "kernels/cuda/launch_shape.h"

namespace leafcutter::gpu {

struct LaunchFamily {
  kernels::DeviceKernel kernel{};
  LaunchShape (*shape)(const void* arguments) = nullptr;
  std::span<const char* const> functions;  // entry points of the family's .cu file
};

template <class Launch, LaunchShape (*shape)(const Launch&)>
constexpr LaunchFamily launch_family(std::span<const char* const> functions) {
  return {Launch::kKernel, [](const void* arguments) { return shape(*static_cast<const Launch*>(arguments)); }, functions};
}

// n things, `per_block` a block, as the x dimension of a grid. Throws Error{device} when a grid cannot have that many blocks.
std::uint32_t grid_for(const char* function, std::uint64_t n, std::uint64_t per_block);
// The same as the y or z dimension, which has 65535 blocks at most.
std::uint32_t grid_y_for(const char* function, std::uint64_t n, std::uint64_t per_block);

extern const LaunchFamily kRmsNormFamily, kQuantizeRowsFamily, kProductFamily, kRotateFamily, kStoreKvFamily, kAttendFamily, kGateFamily,
    kAddFamily, kRankFamily, kUnpackStripsFamily, kHalveRowsFamily, kFinishRowsFamily, kFetchRowsFamily;

}  // namespace leafcutter::gpu
