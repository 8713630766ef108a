#include "kernels/cuda/store_kv_shape.h"

#include <algorithm>

#include "kernels/cuda/launch_family.h"

namespace leafcutter::gpu {
namespace {

constexpr const char* kFunctions[] = {"lc_store_kv_f32", "lc_store_kv_f16", "lc_store_kv_q8"};  // in the order of KvType

LaunchShape shape(const kernels::StoreKvLaunch& a) {
  const char* function = kFunctions[static_cast<std::size_t>(a.type)];
  const std::uint64_t padded = (a.head_dim + kernels::kKvGroup - 1) / kernels::kKvGroup * kernels::kKvGroup;
  const auto threads = static_cast<std::uint32_t>(std::min<std::uint64_t>(padded, kStoreKvThreads));
  return {function, {grid_for(function, a.rows, 1), grid_y_for(function, a.kv_heads, 1), threads > 0 ? 2u : 0u}, threads, 0};
}

}  // namespace

constinit const LaunchFamily kStoreKvFamily = launch_family<kernels::StoreKvLaunch, shape>(kFunctions);

}  // namespace leafcutter::gpu
