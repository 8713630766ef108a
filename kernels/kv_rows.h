// Rows of the key/value cache: head_dim values of one position of one KV head.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "kernels/kv_type.h"

namespace leafcutter::kernels {

const char* kv_type_name(KvType type);
std::optional<KvType> find_kv_type(std::string_view name);

// Bytes of one row, a multiple of 4.
std::size_t kv_row_bytes(KvType type, std::size_t head_dim);

// Stores one row of head_dim floats. A stored row depends on its values alone. f16: round to nearest even.
void kv_store_row(KvType type, const float* values, std::size_t head_dim, std::byte* row);
// The reverse; for tests and references.
void kv_load_row(KvType type, const std::byte* row, std::size_t head_dim, float* values);

}  // namespace leafcutter::kernels
