// What the kernels of a device are given: one struct of arguments for each kernel of offload/device_kernels.h. Host code fills them, and the kernels of kernels/cuda take the very same structs, by value, so this header holds plain data only.
//
// Arguments are numbers, and addresses of device memory. Lengths and strides of rows are counted in values, not bytes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/gate.h"
#include "kernels/kv_type.h"
#include "kernels/ranked.h"
#include "kernels/strip_layout.h"

namespace leafcutter::kernels {

// A place in the memory of a device.
struct DeviceAddress {
  std::uint64_t value = 0;  // 0: nowhere
  constexpr explicit operator bool() const { return value != 0; }
  constexpr DeviceAddress operator+(std::uint64_t bytes) const { return {value + bytes}; }
  constexpr bool operator==(const DeviceAddress&) const = default;
};

enum class DeviceKernel : std::uint8_t {
  rms_norm,
  quantize_rows,
  product,
  rotate,
  store_kv,
  attend,
  gate,
  add,
  rank,
  unpack_strips,
  halve_rows,
  finish_rows,
  fetch_rows
};
constexpr std::size_t kDeviceKernels = 13;

// y[row] = x[row] * weight / rms(x[row]). In place allowed.
struct RmsNormLaunch {
  static constexpr DeviceKernel kKernel = DeviceKernel::rms_norm;
  DeviceAddress x, weight, y;
  std::uint64_t rows = 0, width = 0, x_stride = 0, y_stride = 0;
  float epsilon = 0;
};

// Rows of floats to int8 in groups (ActivationGroup records, group-major).
struct QuantizeRowsLaunch {
  static constexpr DeviceKernel kKernel = DeviceKernel::quantize_rows;
  DeviceAddress x, groups;
  std::uint64_t rows = 0, k = 0, x_stride = 0;
};

// Rows times strips of weights: outputs 0..outputs-1 of each row of y.
struct ProductLaunch {
  static constexpr DeviceKernel kKernel = DeviceKernel::product;
  DeviceAddress weights, x, groups, bias, y;  // groups of quantized layouts, x of the others; bias: none where there is none
  std::uint64_t k = 0, strips = 0, outputs = 0, rows = 0, x_stride = 0, y_stride = 0;
  float factor = 1;
  Layout layout = Layout::f32;
};

// Rotary embedding, in place on heads side by side.
struct RotateLaunch {
  static constexpr DeviceKernel kKernel = DeviceKernel::rotate;
  DeviceAddress x, cos, sin;  // [rows][half] angles
  std::uint64_t rows = 0, heads = 0, head_dim = 0, half = 0, x_stride = 0;
};

// Keys and values of rows into the slots of one layer's cache: of KV head g, row r: keys + g * head_stride + slots[r] * kv_row_bytes.
struct StoreKvLaunch {
  static constexpr DeviceKernel kKernel = DeviceKernel::store_kv;
  DeviceAddress k, v, slots, keys, values;                              // k, v: [rows][kv_heads * head_dim]; slots: [rows] of u32
  std::uint64_t rows = 0, kv_heads = 0, head_dim = 0, head_stride = 0;  // head_stride in bytes
  KvType type = KvType::f16;
};

// One query row of an AttendLaunch, in device memory.
struct DeviceAttentionRow {
  DeviceAddress slots;     // [visible] of u32
  DeviceAddress segments;  // [visible] of u8, read with a bias only
  std::uint64_t visible = 0, position = 0;
  std::uint8_t segment = 0;
};

struct AttendLaunch {
  static constexpr DeviceKernel kKernel = DeviceKernel::attend;
  DeviceAddress q, y;                       // [rows][heads * head_dim]
  DeviceAddress table;                      // [rows] of DeviceAttentionRow
  DeviceAddress lists;                      // where all slots and segments of the table lie
  DeviceAddress keys, values;               // of the layer, kv_heads * head_stride bytes each
  DeviceAddress bias_by_distance;           // none: no bias. Columns of distance_stride floats, the first of which is for distance -reach
  DeviceAddress bias_across, bias_columns;  // bias_columns: [heads] of u16, or none
  std::uint64_t list_bytes = 0;
  std::uint64_t rows = 0, heads = 0, kv_heads = 0, head_dim = 0, head_stride = 0;  // head_stride in bytes
  std::uint64_t distance_stride = 0, reach = 0, segment_types = 0, columns = 0;
  float scale = 1;
  KvType type = KvType::f16;
};

// values = act(values) * up
struct GateLaunch {
  static constexpr DeviceKernel kKernel = DeviceKernel::gate;
  DeviceAddress values, up;
  std::uint64_t n = 0;
  Gate gate = Gate::silu;
};

// x += y
struct AddLaunch {
  static constexpr DeviceKernel kKernel = DeviceKernel::add;
  DeviceAddress x, y;
  std::uint64_t n = 0;
};

// The k largest of each row of x, largest first, ties to the smaller index; NaN counts as smaller than everything.
struct RankLaunch {
  static constexpr DeviceKernel kKernel = DeviceKernel::rank;
  DeviceAddress x, best;                                   // best: [rows][k] of Ranked
  std::uint64_t rows = 0, width = 0, x_stride = 0, k = 0;  // k: at most width
};

// What lies around a product that a library of matrices makes: operands that it knows, and what it leaves to be done.

// Strips of the layout f16 side by side, as one matrix: out[i * strips * 16 + o] is the weight of output o with value i of a row.
struct UnpackStripsLaunch {
  static constexpr DeviceKernel kKernel = DeviceKernel::unpack_strips;
  DeviceAddress weights, out;  // out: [k][strips * 16] of f16
  std::uint64_t k = 0, strips = 0;
};

// Rows of floats as f16 times a power of two for each row, with which its largest value lies in [2^14, 2^15): so that none is too large for f16 and small rows keep their digits. Rows with what is not finite: times 1.
struct HalveRowsLaunch {
  static constexpr DeviceKernel kKernel = DeviceKernel::halve_rows;
  DeviceAddress x, halves, scales;  // halves: [rows][k], scales: [rows] of f32
  std::uint64_t rows = 0, k = 0, x_stride = 0;
};

// y[row] = y[row] * scales[row] * factor + bias
struct FinishRowsLaunch {
  static constexpr DeviceKernel kKernel = DeviceKernel::finish_rows;
  DeviceAddress y, scales, bias;  // bias: none where there is none
  std::uint64_t rows = 0, outputs = 0, y_stride = 0;
  float factor = 1;
};

// Rows of bytes from memory of the host that the device reads by itself. All numbers are bytes; they and the addresses are multiples of 4.
struct FetchRowsLaunch {
  static constexpr DeviceKernel kKernel = DeviceKernel::fetch_rows;
  DeviceAddress to, from;  // from: in host memory, pinned
  std::uint64_t rows = 0, row_bytes = 0, to_stride = 0, from_stride = 0;
};

}  // namespace leafcutter::kernels
