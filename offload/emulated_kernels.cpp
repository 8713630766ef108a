#include "offload/emulated_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/half.h"
#include "kernels/activation_rows.h"
#include "kernels/attention.h"
#include "kernels/elementwise.h"
#include "kernels/matmul.h"
#include "kernels/rope.h"

namespace leafcutter::offload {
namespace {

template <class T>
T* at(DeviceAddress address) {
  return reinterpret_cast<T*>(address.value);
}

void run(const RmsNormLaunch& a, kernels::Isa isa) {
  kernels::rms_norm_kernel(isa)({at<float>(a.x), at<float>(a.weight), at<float>(a.y), a.rows, a.width, a.x_stride, a.y_stride, a.epsilon});
}

void run(const QuantizeRowsLaunch& a, kernels::Isa isa) {
  kernels::quantize_rows_kernel(isa)({at<float>(a.x), a.x_stride, a.rows, a.k, 0, a.rows, at<kernels::ActivationGroup>(a.groups)});
}

void run(const ProductLaunch& a, kernels::Isa isa) {
  kernels::MatmulArgs args{};
  args.weights = at<std::byte>(a.weights);
  args.k = a.k;
  args.strips = a.strips;
  args.outputs = a.outputs;
  args.groups = at<kernels::ActivationGroup>(a.groups);
  args.x = at<float>(a.x);
  args.x_stride = a.x_stride;
  args.rows = a.rows;
  args.factor = a.factor;
  args.bias = at<float>(a.bias);
  args.y = at<float>(a.y);
  args.y_stride = a.y_stride;
  kernels::matmul_kernel(a.layout, isa)(args);
}

void run(const RotateLaunch& a, kernels::Isa) {
  for (std::uint64_t row = 0; row < a.rows; row++)
    kernels::rope_apply(at<float>(a.x) + row * a.x_stride, a.heads, a.head_dim, a.half, at<float>(a.cos) + row * a.half,
                        at<float>(a.sin) + row * a.half);
}

void run(const StoreKvLaunch& a, kernels::Isa) {
  const std::size_t row_bytes = kernels::kv_row_bytes(a.type, a.head_dim), width = a.kv_heads * a.head_dim;
  for (std::uint64_t row = 0; row < a.rows; row++)
    for (std::uint64_t head = 0; head < a.kv_heads; head++) {
      const std::size_t from = row * width + head * a.head_dim, to = head * a.head_stride + at<std::uint32_t>(a.slots)[row] * row_bytes;
      kernels::kv_store_row(a.type, at<float>(a.k) + from, a.head_dim, at<std::byte>(a.keys) + to);
      kernels::kv_store_row(a.type, at<float>(a.v) + from, a.head_dim, at<std::byte>(a.values) + to);
    }
}

void run(const AttendLaunch& a, kernels::Isa isa) {
  std::vector<kernels::AttentionRow> rows(a.rows);
  for (std::uint64_t r = 0; r < a.rows; r++) {
    const DeviceAttentionRow& row = at<DeviceAttentionRow>(a.table)[r];
    rows[r] = {at<std::byte>(a.keys),        at<std::byte>(a.values),        a.head_stride, row.visible,
               at<std::uint32_t>(row.slots), at<std::uint8_t>(row.segments), row.position,  row.segment};
  }
  const std::size_t group = a.heads / a.kv_heads;
  std::vector<float> scratch(kernels::attention_scratch_floats(a.head_dim, group));
  const kernels::AttentionBias bias{
      at<float>(a.bias_by_distance) + a.reach, a.distance_stride, a.reach, at<float>(a.bias_across), a.segment_types, a.columns,
      at<std::uint16_t>(a.bias_columns)};
  kernels::AttentionArgs args{};
  args.type = a.type;
  args.heads = a.heads;
  args.kv_heads = a.kv_heads;
  args.head_dim = a.head_dim;
  args.scale = a.scale;
  args.q = at<float>(a.q);
  args.q_stride = args.y_stride = a.heads * a.head_dim;
  args.row = rows.data();
  args.rows = args.row_end = a.rows;
  args.y = at<float>(a.y);
  args.bias = a.bias_by_distance ? &bias : nullptr;
  args.scratch = scratch.data();
  for (args.head_begin = 0; args.head_begin < a.heads; args.head_begin += group) {
    args.head_end = args.head_begin + group;
    kernels::attention_kernel(isa)(args);
  }
}

void run(const GateLaunch& a, kernels::Isa isa) {
  kernels::gated_activation_kernel(isa)(a.gate, at<float>(a.values), at<float>(a.up), a.n);
}

void run(const AddLaunch& a, kernels::Isa isa) { kernels::add_in_place_kernel(isa)(at<float>(a.x), at<float>(a.y), a.n); }

void run(const RankLaunch& a, kernels::Isa) {
  for (std::uint64_t row = 0; row < a.rows; row++)
    kernels::top_k({at<float>(a.x) + row * a.x_stride, a.width}, {at<kernels::Ranked>(a.best) + row * a.k, a.k});
}

void run(const UnpackStripsLaunch& a, kernels::Isa) {
  constexpr std::size_t kLine = kernels::kStripRows;
  const std::size_t strip = kernels::strip_bytes(kernels::Layout::f16, a.k);
  for (std::uint64_t s = 0; s < a.strips; s++)
    for (std::uint64_t i = 0; i < a.k; i++)
      std::memcpy(at<std::uint16_t>(a.out) + (i * a.strips + s) * kLine,
                  at<std::byte>(a.weights) + s * strip + i * kLine * sizeof(std::uint16_t), kLine * sizeof(std::uint16_t));
}

void run(const HalveRowsLaunch& a, kernels::Isa) {
  constexpr int kLargest = 15;  // the largest value is below 2^15
  for (std::uint64_t row = 0; row < a.rows; row++) {
    const float* const x = at<float>(a.x) + row * a.x_stride;
    float largest = 0;
    for (std::uint64_t i = 0; i < a.k; i++) largest = std::fmax(largest, std::fabs(x[i]));
    int exponent = kLargest;
    if (largest > 0 && std::isfinite(largest)) std::frexp(largest, &exponent);
    exponent = std::max(exponent - kLargest, -126);
    for (std::uint64_t i = 0; i < a.k; i++) at<std::uint16_t>(a.halves)[row * a.k + i] = half_from_float(std::ldexp(x[i], -exponent));
    at<float>(a.scales)[row] = std::ldexp(1.0f, exponent);
  }
}

void run(const FinishRowsLaunch& a, kernels::Isa) {
  for (std::uint64_t row = 0; row < a.rows; row++) {
    float* const y = at<float>(a.y) + row * a.y_stride;
    const float scale = at<float>(a.scales)[row] * a.factor;
    for (std::uint64_t o = 0; o < a.outputs; o++) y[o] = y[o] * scale + (a.bias ? at<float>(a.bias)[o] : 0);
  }
}

void run(const FetchRowsLaunch& a, kernels::Isa) {
  for (std::uint64_t row = 0; row < a.rows; row++)
    std::memcpy(at<std::byte>(a.to) + row * a.to_stride, at<std::byte>(a.from) + row * a.from_stride, a.row_bytes);
}

template <class Launch>
void run(const void* arguments, kernels::Isa isa) {
  run(*static_cast<const Launch*>(arguments), isa);
}

}  // namespace

void run_emulated_kernel(DeviceKernel kernel, const void* arguments, kernels::Isa isa) {
  switch (kernel) {
    case DeviceKernel::rms_norm:
      return run<RmsNormLaunch>(arguments, isa);
    case DeviceKernel::quantize_rows:
      return run<QuantizeRowsLaunch>(arguments, isa);
    case DeviceKernel::product:
      return run<ProductLaunch>(arguments, isa);
    case DeviceKernel::rotate:
      return run<RotateLaunch>(arguments, isa);
    case DeviceKernel::store_kv:
      return run<StoreKvLaunch>(arguments, isa);
    case DeviceKernel::attend:
      return run<AttendLaunch>(arguments, isa);
    case DeviceKernel::gate:
      return run<GateLaunch>(arguments, isa);
    case DeviceKernel::add:
      return run<AddLaunch>(arguments, isa);
    case DeviceKernel::rank:
      return run<RankLaunch>(arguments, isa);
    case DeviceKernel::unpack_strips:
      return run<UnpackStripsLaunch>(arguments, isa);
    case DeviceKernel::halve_rows:
      return run<HalveRowsLaunch>(arguments, isa);
    case DeviceKernel::finish_rows:
      return run<FinishRowsLaunch>(arguments, isa);
    case DeviceKernel::fetch_rows:
      return run<FetchRowsLaunch>(arguments, isa);
  }
}

}  // namespace leafcutter::offload
