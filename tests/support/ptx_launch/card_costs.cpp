#include "tests/support/ptx_launch/card_costs.h"

#include <numeric>

#include "kernels/activation_rows.h"
#include "kernels/cuda/product_shape.h"
#include "kernels/kv_rows.h"
#include "kernels/matmul.h"

namespace leafcutter::ptx {
namespace {

// Blocks of a launch do alike; of these kernels so many are interpreted.
constexpr std::uint64_t kSampledBlocks = 4;
constexpr std::uint64_t kAlignment = 256;  // of device memory

// Zeros: what is counted does not depend on values.
class Buffer {
 public:
  explicit Buffer(std::uint64_t bytes) : words_((bytes + kAlignment + 15) / 16) {}
  kernels::DeviceAddress address() const {
    return {(reinterpret_cast<std::uintptr_t>(words_.data()) + kAlignment - 1) / kAlignment * kAlignment};
  }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(address().value);
  }

 private:
  struct alignas(16) Word {
    std::uint64_t low = 0, high = 0;
  };
  std::vector<Word> words_;
};

Buffer floats(std::uint64_t n) { return Buffer(n * sizeof(float)); }

}  // namespace

LaunchCost product_cost(kernels::Layout layout, std::uint64_t k, std::uint64_t outputs, std::uint64_t rows) {
  kernels::ProductLaunch a;
  a.layout = layout;
  a.k = a.x_stride = k;
  a.outputs = a.y_stride = outputs;
  a.strips = (outputs + kernels::kStripRows - 1) / kernels::kStripRows;
  a.rows = rows;
  const Buffer weights(a.strips * kernels::strip_bytes(layout, k)), x = floats(rows * k), y = floats(rows * outputs);
  const Buffer groups(kernels::activation_groups(k) * rows * sizeof(kernels::ActivationGroup));
  a.weights = weights.address();
  a.x = x.address();
  a.groups = groups.address();
  a.y = y.address();
  // The blocks of a matrix's tile stand side by side, and the last of them may have fewer rows.
  return {run_embedded(a, kSampledBlocks, rows >= gpu::kTileFromRows ? (rows + gpu::kTileRows - 1) / gpu::kTileRows : 1)};
}

LaunchCost attend_cost(std::uint64_t heads, std::uint64_t kv_heads, std::uint64_t head_dim, kernels::KvType type, std::uint64_t rows,
                       std::uint64_t visible, bool biased) {
  constexpr std::uint64_t kReach = 2048, kSegments = 5;
  kernels::AttendLaunch a;
  a.heads = heads;
  a.kv_heads = kv_heads;
  a.head_dim = head_dim;
  a.type = type;
  a.rows = rows;
  a.head_stride = visible * kernels::kv_row_bytes(type, head_dim);
  const Buffer q = floats(rows * heads * head_dim), y = floats(rows * heads * head_dim), keys(kv_heads * a.head_stride),
               values(kv_heads * a.head_stride), slots(visible * sizeof(std::uint32_t) + 32), segments(visible + 32),
               table(rows * sizeof(kernels::DeviceAttentionRow));
  a.columns = heads;
  a.distance_stride = 2 * kReach + 1;
  const Buffer by_distance = floats(a.columns * a.distance_stride), across = floats(kSegments * kSegments * a.columns),
               columns(heads * sizeof(std::uint16_t));
  std::iota(slots.as<std::uint32_t>(), slots.as<std::uint32_t>() + visible, 0u);
  std::iota(columns.as<std::uint16_t>(), columns.as<std::uint16_t>() + heads, std::uint16_t{0});
  for (std::uint64_t row = 0; row < rows; row++)
    table.as<kernels::DeviceAttentionRow>()[row] = {slots.address(), segments.address(), visible, visible - 1, 0};
  a.q = q.address();
  a.y = y.address();
  a.table = table.address();
  a.lists = slots.address();
  a.list_bytes = visible * sizeof(std::uint32_t);
  a.keys = keys.address();
  a.values = values.address();
  if (biased) {
    a.bias_by_distance = by_distance.address();
    a.bias_across = across.address();
    a.bias_columns = columns.address();
    a.reach = kReach;
    a.segment_types = kSegments;
  }
  LaunchCost cost{run_embedded(a, kSampledBlocks)};
  // Of the table of distances, a launch touches what lies between its rows and their keys.
  if (biased) cost.run.listed_bytes -= a.columns * (a.distance_stride - visible) * sizeof(float);
  return cost;
}

LaunchCost rms_norm_cost(std::uint64_t rows, std::uint64_t width) {
  kernels::RmsNormLaunch a;
  const Buffer x = floats(rows * width), weight = floats(width), y = floats(rows * width);
  a.x = x.address();
  a.weight = weight.address();
  a.y = y.address();
  a.rows = rows;
  a.width = a.x_stride = a.y_stride = width;
  return {run_embedded(a, kSampledBlocks)};
}

LaunchCost quantize_rows_cost(std::uint64_t rows, std::uint64_t k) {
  kernels::QuantizeRowsLaunch a;
  const Buffer x = floats(rows * k), groups(kernels::activation_groups(k) * rows * sizeof(kernels::ActivationGroup));
  a.x = x.address();
  a.groups = groups.address();
  a.rows = rows;
  a.k = a.x_stride = k;
  return {run_embedded(a, kSampledBlocks)};
}

LaunchCost gate_cost(std::uint64_t n, kernels::Gate gate) {
  kernels::GateLaunch a;
  const Buffer values = floats(n), up = floats(n);
  a.values = values.address();
  a.up = up.address();
  a.n = n;
  a.gate = gate;
  return {run_embedded(a, kSampledBlocks)};
}

LaunchCost add_cost(std::uint64_t n) {
  kernels::AddLaunch a;
  const Buffer x = floats(n), y = floats(n);
  a.x = x.address();
  a.y = y.address();
  a.n = n;
  return {run_embedded(a, kSampledBlocks)};
}

LaunchCost fetch_rows_cost(std::uint64_t rows, std::uint64_t words) {
  kernels::FetchRowsLaunch a;
  const Buffer from = floats(rows * words), to = floats(rows * words);
  a.from = from.address();
  a.to = to.address();
  a.rows = rows;
  a.row_bytes = a.from_stride = a.to_stride = words * sizeof(float);
  return {run_embedded(a, kSampledBlocks)};
}

LaunchCost unpack_strips_cost(std::uint64_t k, std::uint64_t strips) {
  kernels::UnpackStripsLaunch a;
  const Buffer weights(strips * kernels::strip_bytes(kernels::Layout::f16, k)),
      out(strips * kernels::kStripRows * k * sizeof(std::uint16_t));
  a.weights = weights.address();
  a.out = out.address();
  a.k = k;
  a.strips = strips;
  return {run_embedded(a, kSampledBlocks)};
}

LaunchCost halve_rows_cost(std::uint64_t rows, std::uint64_t k) {
  kernels::HalveRowsLaunch a;
  const Buffer x = floats(rows * k), halves(rows * k * sizeof(std::uint16_t)), scales = floats(rows);
  a.x = x.address();
  a.halves = halves.address();
  a.scales = scales.address();
  a.rows = rows;
  a.k = a.x_stride = k;
  return {run_embedded(a, kSampledBlocks)};
}

LaunchCost finish_rows_cost(std::uint64_t rows, std::uint64_t outputs) {
  kernels::FinishRowsLaunch a;
  const Buffer y = floats(rows * outputs), scales = floats(rows), bias = floats(outputs);
  a.y = y.address();
  a.scales = scales.address();
  a.bias = bias.address();
  a.rows = rows;
  a.outputs = a.y_stride = outputs;
  return {run_embedded(a, kSampledBlocks)};
}

LaunchCost rotate_cost(std::uint64_t rows, std::uint64_t heads, std::uint64_t head_dim) {
  kernels::RotateLaunch a;
  a.half = head_dim / 2;
  const Buffer x = floats(rows * heads * head_dim), cos = floats(rows * a.half), sin = floats(rows * a.half);
  a.x = x.address();
  a.cos = cos.address();
  a.sin = sin.address();
  a.rows = rows;
  a.heads = heads;
  a.head_dim = head_dim;
  a.x_stride = heads * head_dim;
  return {run_embedded(a, kSampledBlocks)};
}

LaunchCost store_kv_cost(std::uint64_t rows, std::uint64_t kv_heads, std::uint64_t head_dim, kernels::KvType type) {
  kernels::StoreKvLaunch a;
  a.rows = rows;
  a.kv_heads = kv_heads;
  a.head_dim = head_dim;
  a.head_stride = rows * kernels::kv_row_bytes(type, head_dim);
  a.type = type;
  const Buffer k = floats(rows * kv_heads * head_dim), v = floats(rows * kv_heads * head_dim), slots(rows * sizeof(std::uint32_t)),
               keys(kv_heads * a.head_stride), values(kv_heads * a.head_stride);
  std::iota(slots.as<std::uint32_t>(), slots.as<std::uint32_t>() + rows, 0u);
  a.k = k.address();
  a.v = v.address();
  a.slots = slots.address();
  a.keys = keys.address();
  a.values = values.address();
  return {run_embedded(a, kSampledBlocks)};
}

LaunchCost rank_cost(std::uint64_t rows, std::uint64_t width) {
  kernels::RankLaunch a;
  const Buffer x = floats(rows * width), best(rows * sizeof(kernels::Ranked));
  a.x = x.address();
  a.best = best.address();
  a.rows = rows;
  a.width = a.x_stride = width;
  a.k = 1;
  return {run_embedded(a, kSampledBlocks)};
}

double share_of_dot_rate(const LaunchCost& cost, std::uint64_t k, std::uint64_t outputs, std::uint64_t rows, const CardModel& card) {
  const double dots = static_cast<double>(k * outputs * rows) / 4;
  return dots / card.dot_lanes_per_s() / cost.on(card).busy_seconds();
}

double share_of_f32_rate(const LaunchCost& cost, std::uint64_t heads, std::uint64_t head_dim, std::uint64_t rows, std::uint64_t visible,
                         const CardModel& card) {
  const double multiply_adds = 2.0 * static_cast<double>(heads * head_dim * rows * visible);
  return multiply_adds / card.dot_lanes_per_s() / cost.on(card).busy_seconds();  // 128 lanes, too
}

}  // namespace leafcutter::ptx
