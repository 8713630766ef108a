#include "offload/card_costs.h"

#include <algorithm>
#include <vector>

#include "kernels/activation_group.h"
#include "kernels/cuda/launch_shape.h"
#include "kernels/kv_rows.h"
#include "kernels/matmul.h"
#include "offload/kernel_table.h"
#include "offload/prediction.h"

namespace leafcutter::offload {
namespace {

constexpr double kSecondsPerLogit = 1e-9;
// On the host a vector of f32 is a quarter of one of int8, and a multiply-add one instruction where int8 takes about two.
constexpr double kF32OverInt8 = 2;

// From and to the card's memory: each byte once, whatever the caches hold.
double bytes_of(const ProductLaunch& a) {
  const std::uint64_t input =
      kernels::takes_groups(a.layout) ? kernels::activation_groups(a.k) * sizeof(kernels::ActivationGroup) : a.k * sizeof(float);
  return static_cast<double>(a.strips * kernels::strip_bytes(a.layout, a.k) + a.rows * (input + a.outputs * sizeof(float)));
}

double bytes_of(const AttendLaunch& a, const SeenKeys& keys) {
  const std::uint64_t of_key = 2 * a.kv_heads * kernels::kv_row_bytes(a.type, a.head_dim) + sizeof(std::uint32_t);  // its slot
  const std::uint64_t of_bias = a.bias_by_distance ? a.heads * sizeof(float) + 1 : 0;                               // and its segment
  return static_cast<double>(keys.most * (of_key + of_bias) + 2 * a.rows * a.heads * a.head_dim * sizeof(float));
}

double bytes_of(DeviceKernel kernel, const void* arguments, const SeenKeys& keys) {
  if (kernel == DeviceKernel::product) return bytes_of(*static_cast<const ProductLaunch*>(arguments));
  if (kernel == DeviceKernel::attend) return bytes_of(*static_cast<const AttendLaunch*>(arguments), keys);
  std::vector<DeviceAccess> accesses;
  device_kernel(kernel).accesses(arguments, accesses);
  double bytes = 0;
  for (const DeviceAccess& access : accesses)
    if (kernel != DeviceKernel::store_kv || !access.write)
      bytes += static_cast<double>(access.rows * access.row_bytes);  // of a cache only the rows that are stored
  return bytes;
}

}  // namespace

double kernel_seconds(DeviceKernel kernel, const void* arguments, const Card& card, const SeenKeys& keys) {
  const gpu::LaunchShape shape = gpu::launch_shape(kernel, arguments);
  if (shape.empty()) return 0;
  const KernelCost& cost = kernel_cost(shape.function);
  const double clocks = clocks_of_block(cost, kernel, arguments, keys);
  // Blocks are handed out whole: the multiprocessor with the most of them decides.
  const std::uint64_t blocks = std::uint64_t{shape.grid[0]} * shape.grid[1] * shape.grid[2];
  const auto multiprocessors = static_cast<std::uint64_t>(card.multiprocessors);
  const std::uint64_t most = (blocks + multiprocessors - 1) / multiprocessors;
  const double busy = static_cast<double>(most) * clocks / card.clock_hz * kTableDotLanes / card.dot_lanes;
  return card.launch_s + std::max(busy, bytes_of(kernel, arguments, keys) / card.usable_dram());
}

double copy_seconds(std::uint64_t bytes, const Card& card) { return card.launch_s + 2 * static_cast<double>(bytes) / card.usable_dram(); }

double host_product_seconds(const ProductWork& work, const CardHost& host) {
  return std::max(work.bytes / std::min(host.product_bytes_per_s, host.dram_bytes_per_s),
                  (work.int8_operations + kF32OverInt8 * work.f32_operations) / host.int8_ops_per_s);
}

double host_attention_seconds(const AttentionWork& work, const CardHost& host) {
  const double rate = work.rows < kManyAttentionRows ? host.attention_one_row_ops_per_s : host.attention_ops_per_s;
  return std::max(work.kv_bytes / host.dram_bytes_per_s, work.operations / rate);
}

double sampling_seconds(std::uint64_t logits) { return static_cast<double>(logits) * kSecondsPerLogit; }

}  // namespace leafcutter::offload
