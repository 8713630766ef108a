#include "offload/device_kernels.h"

#include <algorithm>
#include <iterator>

#include "kernels/activation_rows.h"
#include "kernels/matmul.h"

namespace leafcutter::offload {
namespace {

using Accesses = std::vector<DeviceAccess>;

constexpr std::uint64_t kFloat = sizeof(float), kHalf = 2;

void add(Accesses& out, DeviceAddress begin, std::uint64_t bytes, bool write) {
  if (bytes > 0) out.push_back({begin, 1, bytes, 0, write});
}
void reads(Accesses& out, DeviceAddress begin, std::uint64_t bytes) { add(out, begin, bytes, false); }
void writes(Accesses& out, DeviceAddress begin, std::uint64_t bytes) { add(out, begin, bytes, true); }

// Rows of `width` floats.
void rows_of(Accesses& out, DeviceAddress begin, std::uint64_t rows, std::uint64_t width, std::uint64_t stride, bool write) {
  if (rows > 0 && width > 0) out.push_back({begin, rows, width * kFloat, stride * kFloat, write});
}

std::uint64_t group_bytes(std::uint64_t k, std::uint64_t rows) {
  return kernels::activation_groups(k) * rows * sizeof(kernels::ActivationGroup);
}

void list(const RmsNormLaunch& a, Accesses& out) {
  rows_of(out, a.x, a.rows, a.width, a.x_stride, false);
  reads(out, a.weight, a.width * kFloat);
  rows_of(out, a.y, a.rows, a.width, a.y_stride, true);
}

void list(const QuantizeRowsLaunch& a, Accesses& out) {
  rows_of(out, a.x, a.rows, a.k, a.x_stride, false);
  writes(out, a.groups, group_bytes(a.k, a.rows));
}

void list(const ProductLaunch& a, Accesses& out) {
  reads(out, a.weights, a.strips * kernels::strip_bytes(a.layout, a.k));
  if (kernels::takes_groups(a.layout))
    reads(out, a.groups, group_bytes(a.k, a.rows));
  else
    rows_of(out, a.x, a.rows, a.k, a.x_stride, false);
  if (a.bias) reads(out, a.bias, a.outputs * kFloat);
  rows_of(out, a.y, a.rows, a.outputs, a.y_stride, true);
}

void list(const RotateLaunch& a, Accesses& out) {
  rows_of(out, a.x, a.rows, a.heads * a.head_dim, a.x_stride, true);
  reads(out, a.cos, a.rows * a.half * kFloat);
  reads(out, a.sin, a.rows * a.half * kFloat);
}

void list(const StoreKvLaunch& a, Accesses& out) {
  const std::uint64_t floats = a.rows * a.kv_heads * a.head_dim;
  reads(out, a.k, floats * kFloat);
  reads(out, a.v, floats * kFloat);
  reads(out, a.slots, a.rows * sizeof(std::uint32_t));
  // Which slots is in device memory; the layer's planes are what can be said here.
  writes(out, a.keys, a.kv_heads * a.head_stride);
  writes(out, a.values, a.kv_heads * a.head_stride);
}

void list(const AttendLaunch& a, Accesses& out) {
  const std::uint64_t width = a.heads * a.head_dim;
  reads(out, a.q, a.rows * width * kFloat);
  reads(out, a.table, a.rows * sizeof(DeviceAttentionRow));
  reads(out, a.lists, a.list_bytes);
  reads(out, a.keys, a.kv_heads * a.head_stride);
  reads(out, a.values, a.kv_heads * a.head_stride);
  if (a.bias_by_distance) {
    reads(out, a.bias_by_distance, a.columns * a.distance_stride * kFloat);
    reads(out, a.bias_across, a.segment_types * a.segment_types * a.columns * kFloat);
    if (a.bias_columns) reads(out, a.bias_columns, a.heads * sizeof(std::uint16_t));
  }
  writes(out, a.y, a.rows * width * kFloat);
}

void list(const GateLaunch& a, Accesses& out) {
  writes(out, a.values, a.n * kFloat);
  reads(out, a.up, a.n * kFloat);
}

void list(const AddLaunch& a, Accesses& out) {
  writes(out, a.x, a.n * kFloat);
  reads(out, a.y, a.n * kFloat);
}

void list(const RankLaunch& a, Accesses& out) {
  rows_of(out, a.x, a.rows, a.width, a.x_stride, false);
  writes(out, a.best, a.rows * a.k * sizeof(kernels::Ranked));
}

void list(const UnpackStripsLaunch& a, Accesses& out) {
  reads(out, a.weights, a.strips * kernels::strip_bytes(kernels::Layout::f16, a.k));
  writes(out, a.out, a.strips * kernels::kStripRows * a.k * kHalf);
}

void list(const HalveRowsLaunch& a, Accesses& out) {
  rows_of(out, a.x, a.rows, a.k, a.x_stride, false);
  writes(out, a.halves, a.rows * a.k * kHalf);
  writes(out, a.scales, a.rows * kFloat);
}

void list(const FinishRowsLaunch& a, Accesses& out) {
  rows_of(out, a.y, a.rows, a.outputs, a.y_stride, true);
  reads(out, a.scales, a.rows * kFloat);
  if (a.bias) reads(out, a.bias, a.outputs * kFloat);
}

void list(const FetchRowsLaunch& a, Accesses& out) {
  if (a.rows == 0 || a.row_bytes == 0) return;
  out.push_back({a.from, a.rows, a.row_bytes, a.from_stride, false});
  out.push_back({a.to, a.rows, a.row_bytes, a.to_stride, true});
}

template <class Launch>
constexpr DeviceKernelInfo row(const char* name) {
  return {Launch::kKernel, name, sizeof(Launch), [](const void* a, Accesses& out) { list(*static_cast<const Launch*>(a), out); }};
}

// In the order of DeviceKernel.
constexpr DeviceKernelInfo kTable[] = {
    row<RmsNormLaunch>("rms_norm"),
    row<QuantizeRowsLaunch>("quantize_rows"),
    row<ProductLaunch>("product"),
    row<RotateLaunch>("rotate"),
    row<StoreKvLaunch>("store_kv"),
    row<AttendLaunch>("attend"),
    row<GateLaunch>("gate"),
    row<AddLaunch>("add"),
    row<RankLaunch>("rank"),
    row<UnpackStripsLaunch>("unpack_strips"),
    row<HalveRowsLaunch>("halve_rows"),
    row<FinishRowsLaunch>("finish_rows"),
    row<FetchRowsLaunch>("fetch_rows"),
};
static_assert(std::size(kTable) == kDeviceKernels);

}  // namespace

const DeviceKernelInfo& device_kernel(DeviceKernel kernel) { return kTable[static_cast<std::size_t>(kernel)]; }

}  // namespace leafcutter::offload
