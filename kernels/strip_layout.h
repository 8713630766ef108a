// How weights lie in memory, on disk and on the device: one layout for AVX2, AVX-512 VNNI and dp4a. docs/weight-layouts.md has the byte tables.
//
// A matrix of n output rows x k is cut in strips of 16 output rows, one after another; rows past n are zeros. A strip is a whole
// number of 64-byte lines, so that one aligned load feeds a whole register and no horizontal sum is needed. Never repacked while running.
#pragma once

#include <cstddef>
#include <cstdint>

namespace leafcutter::kernels {

constexpr std::size_t kStripRows = 16;

// The identity of a weight layout, stored per tensor; ids are never reused.
enum class Layout : std::uint8_t {
  plain = 0,  // f32, row-major, no strips: norm weights, biases and tables that are read as vectors
  f32 = 1,    // line of one k: 16 floats
  f16 = 2,    // line of one k: 16 halves
  bf16 = 3,   // line of one k: 16 bfloat16
  q8 = 4,     // blocks of 128 k: 4 lines of 16 u8 scales, codes; row floats D in front. weight = D * scale * (code - 128)
  q8row = 5,  // row floats D in front, codes.                                            weight = D * (code - 128)
  q4 = 6,     // blocks of 128 k: 4 x (16 u8 scales, 16 u8 minima), codes; row floats D, M in front. weight = D * scale * code - M * min
  q8_0 = 7,   // blocks of 128 k: 4 x 16 halves, codes.          weight = scale * (code - 128)     ggml's Q8_0 without rounding
  q4_0 = 8,   // blocks of 128 k: 4 x 16 halves, codes.          weight = scale * (code - 8)       ggml's Q4_0 without rounding
  q4_1 = 9,   // blocks of 128 k: 4 x (16 halves, 16 halves), codes.  weight = scale * code + min  ggml's Q4_1 without rounding
};

// Bytes of one strip of input width k (true width; the padding of k to 32, of the last block and of the strip to 64 is inside).
// 0 for plain and for ids that are not known. k <= 2^32 never overflows.
std::uint64_t strip_bytes(Layout layout, std::uint64_t k);

}  // namespace leafcutter::kernels
