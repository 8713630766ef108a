// Keys and values into the cache: a row along x of the grid, KV heads along y, keys and values along z. A warp does 32 values at a time: a group of q8. The bytes are those of kv_store_row (a NaN may be another one).
#include "kernels/cuda/port.h"
#include "kernels/cuda/store_kv_shape.h"

namespace leafcutter::gpu {

// What one block stores.
struct KvRow {
  const float* from;
  unsigned char* to;
};

GPU_INLINE KvRow kv_row(const kernels::StoreKvLaunch& a, std::uint64_t row_bytes) {
  const bool keys = block_z() == 0;
  const std::uint64_t row = block_x(), head = block_y();
  const std::uint64_t slot = at<std::uint32_t>(a.slots)[row];
  return {at<float>(keys ? a.k : a.v) + (row * a.kv_heads + head) * a.head_dim,
          at<unsigned char>(keys ? a.keys : a.values) + head * a.head_stride + slot * row_bytes};
}

GPU_KERNEL(lc_store_kv_f32, kernels::StoreKvLaunch, kStoreKvThreads) {
  const KvRow row = kv_row(a, a.head_dim * sizeof(float));
  for (std::uint64_t i = thread(); i < a.head_dim; i += threads()) reinterpret_cast<float*>(row.to)[i] = row.from[i];
}

GPU_KERNEL(lc_store_kv_f16, kernels::StoreKvLaunch, kStoreKvThreads) {
  const KvRow row = kv_row(a, (a.head_dim + 1) / 2 * 2 * sizeof(std::uint16_t));
  for (std::uint64_t i = thread(); i < a.head_dim; i += threads()) reinterpret_cast<std::uint16_t*>(row.to)[i] = float_to_half(row.from[i]);
}

GPU_KERNEL(lc_store_kv_q8, kernels::StoreKvLaunch, kStoreKvThreads) {
  constexpr std::uint64_t kGroup = kernels::kKvGroup;
  static_assert(kGroup == kWarp);
  const std::uint64_t groups = (a.head_dim + kGroup - 1) / kGroup;
  const KvRow row = kv_row(a, groups * (kGroup + sizeof(float)));
  auto* scales = reinterpret_cast<float*>(row.to + groups * kGroup);
  for (std::uint64_t group = warp(); group < groups; group += threads() / kWarp) {
    const std::uint64_t i = group * kGroup + lane();
    const float x = i < a.head_dim ? row.from[i] : 0;
    const float largest = warp_max(absolute(x));
    constexpr float kLargestFloat = 3.40282347e38f;
    const float inverse = largest > 0 && largest <= kLargestFloat ? 127 / largest : 0;
    const float scaled = x * inverse;
    const int code = scaled == scaled ? round_even_to_int(min(max(scaled, -127.0f), 127.0f)) : 0;
    row.to[i] = static_cast<unsigned char>(code);
    if (lane() == 0) scales[group] = largest / 127;
  }
}

}  // namespace leafcutter::gpu
