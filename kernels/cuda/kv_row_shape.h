// Sizes of the rows of a KV cache (kernels/kv_rows.h), for kernels and for who launches them.
#pragma once

#include "kernels/kv_type.h"

namespace leafcutter::gpu {

constexpr unsigned kKvGroup = kernels::kKvGroup;
constexpr unsigned kKvChunkBytes = 128;  // of values that are worked on together

// Bytes of a row's values, without scales.
constexpr unsigned kv_value_bytes(kernels::KvType type, unsigned head_dim) {
  switch (type) {
    case kernels::KvType::f32:
      return head_dim * 4;
    case kernels::KvType::f16:
      return (head_dim + 1) / 2 * 4;
    case kernels::KvType::q8:
      return (head_dim + kKvGroup - 1) / kKvGroup * kKvGroup;
  }
  return 0;
}

constexpr unsigned kv_row_bytes(kernels::KvType type, unsigned head_dim) {
  const unsigned values = kv_value_bytes(type, head_dim);
  return type == kernels::KvType::q8 ? values + values / kKvGroup * 4 : values;
}

// The widest load that every row begins at a multiple of, when the first one begins at a multiple of 16.
constexpr unsigned kv_row_alignment(kernels::KvType type, unsigned head_dim) {
  const unsigned bytes = kv_row_bytes(type, head_dim);
  return bytes % 16 == 0 ? 16 : bytes % 8 == 0 ? 8 : 4;
}

}  // namespace leafcutter::gpu
