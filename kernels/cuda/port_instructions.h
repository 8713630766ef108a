// What port_clang.h and port_nvcc.h have in common: single PTX instructions. Both include it at their end.
#pragma once

#include <cstdint>

namespace leafcutter::gpu {

GPU_INLINE int dp4a(int a, int b, int c) {
  int d;
  asm("dp4a.s32.s32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
}
GPU_INLINE int dp4a_us(unsigned a, int b, int c) {
  int d;
  asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
}

GPU_INLINE float half_to_float(std::uint16_t h) {
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
  return f;
}
GPU_INLINE std::uint16_t float_to_half(float f) {
  std::uint16_t h;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(f));
  return h;
}

GPU_INLINE unsigned opaque(unsigned v) {
  asm volatile("" : "+r"(v));
  return v;
}

}  // namespace leafcutter::gpu
