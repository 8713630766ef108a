#include "kernels/kv_rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/half.h"
#include "kernels/attention_blocks.h"

namespace leafcutter::kernels {
namespace {

std::size_t groups_of(std::size_t head_dim) { return (head_dim + kKvGroup - 1) / kKvGroup; }

void store_q8(const float* values, std::size_t head_dim, std::byte* row) {
  const std::size_t groups = groups_of(head_dim);
  auto* codes = reinterpret_cast<std::int8_t*>(row);
  for (std::size_t g = 0; g < groups; g++) {
    const std::size_t begin = g * kKvGroup, end = std::min(head_dim, begin + kKvGroup);
    float largest = 0;
    for (std::size_t i = begin; i < end; i++) largest = std::max(largest, std::abs(values[i]));
    const float scale = largest / 127, inverse = largest > 0 && std::isfinite(largest) ? 127 / largest : 0;
    for (std::size_t i = begin; i < end; i++)
      codes[i] = static_cast<std::int8_t>(std::lrint(std::clamp(values[i] * inverse, -127.0f, 127.0f)));
    std::fill(codes + end, codes + begin + kKvGroup, std::int8_t{0});
    std::memcpy(row + groups * kKvGroup + g * sizeof scale, &scale, sizeof scale);
  }
}

void load_q8(const std::byte* row, std::size_t head_dim, float* values) {
  const std::size_t groups = groups_of(head_dim);
  for (std::size_t i = 0; i < head_dim; i++) {
    float scale;
    std::memcpy(&scale, row + groups * kKvGroup + i / kKvGroup * sizeof scale, sizeof scale);
    values[i] = static_cast<float>(static_cast<std::int8_t>(row[i])) * scale;
  }
}

}  // namespace

const char* kv_type_name(KvType type) {
  switch (type) {
    case KvType::f32:
      return "f32";
    case KvType::f16:
      return "f16";
    case KvType::q8:
      return "q8";
  }
  return "?";
}

std::optional<KvType> find_kv_type(std::string_view name) {
  for (const KvType type : {KvType::f32, KvType::f16, KvType::q8})
    if (name == kv_type_name(type)) return type;
  return std::nullopt;
}

std::size_t kv_row_bytes(KvType type, std::size_t head_dim) {
  switch (type) {
    case KvType::f32:
      return head_dim * sizeof(float);
    case KvType::f16:
      return (head_dim + 1) / 2 * 2 * sizeof(std::uint16_t);
    case KvType::q8:
      return groups_of(head_dim) * (kKvGroup + sizeof(float));
  }
  return 0;
}

void kv_store_row(KvType type, const float* values, std::size_t head_dim, std::byte* row) {
  switch (type) {
    case KvType::f32:
      std::memcpy(row, values, head_dim * sizeof(float));
      return;
    case KvType::f16:
      for (std::size_t i = 0; i < head_dim; i++) {
        const std::uint16_t half = half_from_float(values[i]);
        std::memcpy(row + i * sizeof half, &half, sizeof half);
      }
      return;
    case KvType::q8:
      store_q8(values, head_dim, row);
      return;
  }
}

void kv_load_row(KvType type, const std::byte* row, std::size_t head_dim, float* values) {
  switch (type) {
    case KvType::f32:
      std::memcpy(values, row, head_dim * sizeof(float));
      return;
    case KvType::f16:
      for (std::size_t i = 0; i < head_dim; i++) {
        std::uint16_t half;
        std::memcpy(&half, row + i * sizeof half, sizeof half);
        values[i] = float_from_half(half);
      }
      return;
    case KvType::q8:
      load_q8(row, head_dim, values);
      return;
  }
}

}  // namespace leafcutter::kernels
