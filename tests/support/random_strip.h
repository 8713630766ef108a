// Strips of weights for tests.
#pragma once

#include <cstddef>
#include <cstring>
#include <random>

#include "base/half.h"
#include "kernels/strip_shape.h"

namespace leafcutter::kernels {

// Any bytes are valid codes; scales and floats are set to finite numbers of both signs.
inline void random_strip(Layout layout, std::size_t k, std::mt19937& random, std::byte* strip) {
  std::uniform_real_distribution<float> uniform(-1, 1);
  const std::size_t bytes = strip_bytes(layout, k);
  for (std::size_t i = 0; i < bytes; i++) strip[i] = static_cast<std::byte>(random());
  const auto put_half = [&](std::byte* at, float v) {
    const std::uint16_t half = half_from_float(v);
    std::memcpy(at, &half, sizeof half);
  };
  if (layout == Layout::f32)
    for (std::size_t i = 0; i < bytes; i += 4) {
      const float v = uniform(random);
      std::memcpy(strip + i, &v, sizeof v);
    }
  if (layout == Layout::f16)
    for (std::size_t i = 0; i < bytes; i += 2) put_half(strip + i, uniform(random));
  if (layout == Layout::bf16)
    for (std::size_t i = 0; i < bytes; i += 2) {
      const std::uint16_t v = bf16_from_float(uniform(random));
      std::memcpy(strip + i, &v, sizeof v);
    }
  const GroupShape shape = group_shape(layout);
  if (shape.row_floats)
    for (std::size_t r = 0; r < (shape.minima ? 32 : 16); r++) {
      const float v = uniform(random) * 0.01f;
      std::memcpy(strip + 4 * r, &v, sizeof v);
    }
  if (shape.scale == GroupScale::half)
    for (std::size_t g = 0; g < (k + 31) / 32; g++)
      for (std::size_t r = 0; r < shape.group_head / 2; r++)
        put_half(strip + shape.front + g / 4 * shape.block_bytes() + g % 4 * shape.group_head + 2 * r, uniform(random) * 0.1f);
}

}  // namespace leafcutter::kernels
