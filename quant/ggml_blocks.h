// Blocks of ggml's types (GGUF): decoding to float, and transcoding to our strips without rounding where a layout holds them exactly.
// Source: the block descriptions of ggml (ggml-common.h); little endian; blocks of 32 (Q6_K: 256) weights along k.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "quant/format.h"

namespace leafcutter::quant {

// What a source tensor's bytes are. Float types come from safetensors, PyTorch and GGUF, the block types from GGUF.
enum class SourceType : std::uint8_t { f32, f16, bf16, f64, q8_0, q4_0, q4_1, q6_k };

struct SourceTypeInfo {
  SourceType type;
  const char* name;            // "F32", "Q4_1", ...
  std::uint32_t block_values;  // 1 for floats
  std::uint32_t block_bytes;
  const FormatId* exact;  // the format that holds it without rounding, null where there is none (Q6_K, F64)
};

const SourceTypeInfo& source_type_info(SourceType type);

// Bytes of a row of k values; k must be a multiple of block_values.
std::uint64_t source_row_bytes(SourceType type, std::uint64_t k);

// One row of k values to floats. bytes.size() == source_row_bytes(type, k).
void decode_source_row(SourceType type, std::span<const std::byte> bytes, std::size_t k, float* out);

// 16 source rows (spans; an empty one is a row of zeros past the matrix's end) to one strip of the exact format. Bit-exact: decode_strip gives the very floats of decode_source_row
// (f16 scales times codes, in fp32).
void transcode_strip(SourceType type, std::span<const std::span<const std::byte>, 16> rows, std::size_t k, std::byte* out);

}  // namespace leafcutter::quant
