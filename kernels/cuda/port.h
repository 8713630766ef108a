// What a kernel of kernels/cuda may use, whoever compiles it: clang to PTX (port_clang.h), nvcc as a second opinion (port_nvcc.h), or the host's compiler, for the emulator of tests/support/cuda_emulation
// (port_emulation.h, when LEAFCUTTER_CUDA_EMULATION is defined). No header of a CUDA toolkit is needed.
//
//   GPU_KERNEL(lc_name, Arguments, 256) { ... a.x ... }   an entry point that takes one struct by value as `a`; 256: the most threads of a block it is launched with
//   GPU_INLINE float f(float x) { ... }                   a function for kernels
//   GPU_SHARED(float, sums, 32);                          a static array of shared memory
//   GPU_DYNAMIC_SHARED(float, sums);                      the shared memory that the launch asks for, 16-byte aligned; one a kernel
//   GPU_UNROLL for (...)                                  unroll wholly
//   GPU_KEEP_LOOP for (...)                               do not unroll: code and registers are dearer here
//
// Blocks are one-dimensional, a multiple of 32 threads and at most 1024; grids have up to three dimensions (y and z up to 65535). sync_block() is reached by all threads of a block, the functions of a warp by
// all 32 lanes, in the same place, or the result is undefined (the emulator reports it). All .cu files make one module: names in them are unique.
// Nothing is fused behind a kernel's back (-ffp-contract=off): where fma() is not written there is none, so that all three compilers round alike.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/device_launch.h"

#if defined(LEAFCUTTER_CUDA_EMULATION)
#include "kernels/cuda/port_emulation.h"
#elif defined(__clang__)
#include "kernels/cuda/port_clang.h"
#else
#include "kernels/cuda/port_nvcc.h"
#endif

// Each of them brings the macros above, and in leafcutter::gpu:
//   thread() threads() block_x() block_y() block_z() grid_x() grid_y() grid_z()
//   sync_block()  sync_warp()            order memory among the threads of a block, of a warp; the others below order nothing
//   shuffle_xor(v, mask)  shuffle(v, source_lane)  any(condition)   v: float, int, unsigned
//   dp4a(int a, int b, int c)            c + sum of a[i] * b[i] over signed bytes
//   dp4a_us(unsigned a, int b, int c)    the same with unsigned bytes a
//   load4 load8 load16                   that many bytes, aligned so, of memory that nobody writes while the kernel runs (the read-only path)
//   half_to_float  float_to_half (to nearest even; a NaN becomes some NaN)
//   fma(a, b, c)  round_even_to_int(x)  absolute(x)  max(a, b)  min(a, b)   max and min of floats: a NaN loses
//   exp2(x): relative error 2^-22, results below 2^-126 are 0.   reciprocal_sqrt(x): relative error 2^-22
//   bits_of(float)  float_of(unsigned)
//   opaque(v)                            v, but the compiler does not know its value: a constant stays in one register
namespace leafcutter::gpu {

constexpr unsigned kWarp = 32;

GPU_INLINE unsigned lane() { return thread() % kWarp; }
GPU_INLINE unsigned warp() { return thread() / kWarp; }

GPU_INLINE int max(int a, int b) { return a > b ? a : b; }
GPU_INLINE int min(int a, int b) { return a < b ? a : b; }
GPU_INLINE unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
GPU_INLINE unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }

template <class T>
GPU_INLINE T* at(kernels::DeviceAddress address) {
  return reinterpret_cast<T*>(address.value);
}

GPU_INLINE float bf16_to_float(std::uint16_t h) { return float_of(std::uint32_t{h} << 16); }

// e^x, relative error below 4e-7: 2^(x log2 e) with the rounding error of the product put right. 0 below -87.4; does not grow beyond x = 88.7, where floats end.
GPU_INLINE float exp(float x) {
  constexpr float kLog2E = 1.44269502f, kLog2ERest = 1.92596303e-8f, kLn2 = 0.693147181f;
  x = min(max(x, -150.0f), 88.7f);
  const float whole = x * kLog2E;
  const float rest = fma(x, kLog2ERest, fma(x, kLog2E, -whole));
  const float power = exp2(whole);
  return fma(power, rest * kLn2, power);
}

GPU_INLINE float warp_sum(float v) {
  GPU_UNROLL
  for (unsigned mask = kWarp / 2; mask > 0; mask /= 2) v += shuffle_xor(v, mask);
  return v;
}
GPU_INLINE int warp_sum(int v) {
  GPU_UNROLL
  for (unsigned mask = kWarp / 2; mask > 0; mask /= 2) v += shuffle_xor(v, mask);
  return v;
}
GPU_INLINE float warp_max(float v) {
  GPU_UNROLL
  for (unsigned mask = kWarp / 2; mask > 0; mask /= 2) v = max(v, shuffle_xor(v, mask));
  return v;
}

}  // namespace leafcutter::gpu
