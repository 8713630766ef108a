// Rotary position embedding (Su et al. 2021), half-split form: pairs (i, i + d/2) of each head, d = rotary dimensions.
//
//   x'[i] = x[i] cos[i] - x[i + d/2] sin[i]        x'[i + d/2] = x[i + d/2] cos[i] + x[i] sin[i]
//
// The cos and sin of a row serve all heads and layers of a step, so they are made once (rope_angles) and applied many times.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace leafcutter::kernels {

// cos/sin[i] = attention_factor * cos/sin(float(position) * inverse_frequency[i]), the product rounded to fp32 as the reference implementation does, then an accurate
// cosine of that float: right for positions beyond 2^20 too. Both outputs: inverse_frequency.size() floats.
void rope_angles(std::uint64_t position, std::span<const float> inverse_frequency, float attention_factor, float* cos, float* sin);

// In place on `heads` heads of head_dim floats side by side; the first 2 * half dimensions of each head are turned, the rest stay.
void rope_apply(float* x, std::size_t heads, std::size_t head_dim, std::size_t half, const float* cos, const float* sin);

}  // namespace leafcutter::kernels
