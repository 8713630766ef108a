#include <cmath>
#include <numbers>

#include "kernels/elementwise.h"

namespace leafcutter::kernels {

void rms_norm_reference(const RmsNormArgs& a) {
  for (std::size_t r = 0; r < a.rows; r++) {
    const float* x = a.x + r * a.x_stride;
    double squares = 0;
    for (std::size_t i = 0; i < a.width; i++) squares += double{x[i]} * x[i];
    const double scale = 1 / std::sqrt(squares / static_cast<double>(a.width) + a.epsilon);
    for (std::size_t i = 0; i < a.width; i++) a.y[r * a.y_stride + i] = static_cast<float>(x[i] * scale * a.weight[i]);
  }
}

void gated_activation_reference(Gate gate, float* gate_values, const float* up, std::size_t n) {
  for (std::size_t i = 0; i < n; i++) {
    const double x = gate_values[i];
    double y = 0;
    switch (gate) {
      case Gate::silu:
        y = x / (1 + std::exp(-x));
        break;
      case Gate::gelu_erf:
        y = 0.5 * x * (1 + std::erf(x / std::numbers::sqrt2));
        break;
      case Gate::gelu_tanh:
        y = 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
        break;
    }
    gate_values[i] = static_cast<float>(y * up[i]);
  }
}

}  // namespace leafcutter::kernels
