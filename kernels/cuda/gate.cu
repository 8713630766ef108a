// Gated activations, a thread a value; the functions are those of kernels/elementwise_lanes.h.
#include "kernels/cuda/elementwise_shape.h"
#include "kernels/cuda/port.h"

namespace leafcutter::gpu {

GPU_INLINE float silu(float x) { return x / (1 + exp(-x)); }

// 0.5 x (1 + tanh(u)) = x / (1 + e^(-2u)), u = sqrt(2/pi) (x + 0.044715 x^3)
GPU_INLINE float gelu_tanh(float x) {
  const float u = 0.7978845608f * fma(0.044715f, x * x * x, x);
  return x / (1 + exp(-2 * u));
}

// x (1 - Q(x)), Q(x) = erfc(x / sqrt 2) / 2 the normal distribution's tail; erfc by the exponential of a polynomial in 1 / (1 + z / 2) (Press et al. 1992), relative error 1.2e-7.
GPU_INLINE float gelu_erf(float x) {
  const float z = absolute(x) * 0.70710678f;
  const float t = 1 / fma(0.5f, z, 1.0f);
  float p = 0.17087277f;
  p = fma(p, t, -0.82215223f);
  p = fma(p, t, 1.48851587f);
  p = fma(p, t, -1.13520398f);
  p = fma(p, t, 0.27886807f);
  p = fma(p, t, -0.18628806f);
  p = fma(p, t, 0.09678418f);
  p = fma(p, t, 0.37409196f);
  p = fma(p, t, 1.00002368f);
  p = fma(p, t, -1.26551223f);
  const float tail = 0.5f * t * exp(p - z * z);
  return x * (x < 0 ? tail : 1 - tail);
}

template <float (*activation)(float)>
GPU_INLINE void gate(const kernels::GateLaunch& a) {
  const std::uint64_t i = std::uint64_t{block_x()} * kElementwiseThreads + thread();
  if (i < a.n) at<float>(a.values)[i] = activation(at<float>(a.values)[i]) * at<float>(a.up)[i];
}

GPU_KERNEL(lc_gate_silu, kernels::GateLaunch, kElementwiseThreads) { gate<silu>(a); }
GPU_KERNEL(lc_gate_gelu_erf, kernels::GateLaunch, kElementwiseThreads) { gate<gelu_erf>(a); }
GPU_KERNEL(lc_gate_gelu_tanh, kernels::GateLaunch, kElementwiseThreads) { gate<gelu_tanh>(a); }

}  // namespace leafcutter::gpu
