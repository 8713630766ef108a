// Number formats of weights as one table: a row per format, adding one is one row and one file.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "kernels/strip_layout.h"

namespace leafcutter::quant {

enum class FormatId : std::uint8_t {
  f32 = 0,
  f16 = 1,
  bf16 = 2,
  q8 = 3,
  q8row = 4,
  q4 = 5,
  q8_0 = 6,
  q4_0 = 7,
  q4_1 = 8
};  // stored in files, never reused

// Writes one strip: 16 rows of k floats (rows[r * k + i]; rows past the matrix's end are given as zeros) to out, strip_bytes(layout, k) bytes, all of them
// written, deterministic. Values must be finite (checked before, see check_finite). Thread-safe.
using EncodeStrip = void (*)(const float* rows, std::size_t k, std::byte* out);

struct Format {
  FormatId id;
  const char* name;  // as flags and `inspect` show it
  kernels::Layout layout;
  double bits_per_weight;  // asymptotic, without the padding of small matrices
  bool lossless_float;     // f32, f16, bf16
  EncodeStrip encode;      // null for q8_0, q4_0, q4_1: these come only from blocks of a source (see ggml_blocks.h)
};

std::span<const Format> formats();
const Format* find_format(FormatId id);              // null: not known
const Format* find_format(const std::string& name);  // null: not known; "q4", "q8", "q8row", "f16", ...
const Format& format_of(FormatId id);                // id must be known

// Smallest index of a NaN or an infinity, or values.size().
std::size_t first_non_finite(std::span<const float> values);

}  // namespace leafcutter::quant
