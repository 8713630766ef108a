#include "kernels/rope.h"

#include <cmath>

namespace leafcutter::kernels {

void rope_angles(std::uint64_t position, std::span<const float> inverse_frequency, float attention_factor, float* cos, float* sin) {
  for (std::size_t i = 0; i < inverse_frequency.size(); i++) {
    const float angle = static_cast<float>(position) * inverse_frequency[i];
    cos[i] = std::cos(angle) * attention_factor;
    sin[i] = std::sin(angle) * attention_factor;
  }
}

void rope_apply(float* x, std::size_t heads, std::size_t head_dim, std::size_t half, const float* cos, const float* sin) {
  for (std::size_t h = 0; h < heads; h++, x += head_dim)
    for (std::size_t i = 0; i < half; i++) {
      const float a = x[i], b = x[i + half];
      x[i] = a * cos[i] - b * sin[i];
      x[i + half] = b * cos[i] + a * sin[i];
    }
}

}  // namespace leafcutter::kernels
