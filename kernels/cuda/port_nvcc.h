// port.h for nvcc, which compiles the same kernels for newer cards as a second opinion; nothing of it ships. nvcc brings its own headers by itself.
#pragma once

#include "kernels/cuda/port_types.h"

#define GPU_INLINE static __device__ __forceinline__
#define GPU_KERNEL(name, Arguments, most_threads) extern "C" __global__ void __launch_bounds__(most_threads) name(const Arguments a)
#define GPU_SHARED(type, name, count) __shared__ type name[count]
#define GPU_DYNAMIC_SHARED(type, name) type* const name = reinterpret_cast<type*>(::leafcutter::gpu::lc_dynamic_shared)
#define GPU_UNROLL _Pragma("unroll")
#define GPU_KEEP_LOOP _Pragma("unroll 1")

namespace leafcutter::gpu {

extern "C" {
extern __shared__ __align__(16) unsigned char lc_dynamic_shared[];
}

GPU_INLINE unsigned thread() { return threadIdx.x; }
GPU_INLINE unsigned threads() { return blockDim.x; }
GPU_INLINE unsigned block_x() { return blockIdx.x; }
GPU_INLINE unsigned block_y() { return blockIdx.y; }
GPU_INLINE unsigned block_z() { return blockIdx.z; }
GPU_INLINE unsigned grid_x() { return gridDim.x; }
GPU_INLINE unsigned grid_y() { return gridDim.y; }
GPU_INLINE unsigned grid_z() { return gridDim.z; }

GPU_INLINE void sync_block() { __syncthreads(); }
GPU_INLINE void sync_warp() { __syncwarp(); }

template <class T>
GPU_INLINE T shuffle_xor(T v, unsigned mask) {
  return __shfl_xor_sync(0xffffffffu, v, static_cast<int>(mask));
}
template <class T>
GPU_INLINE T shuffle(T v, unsigned lane) {
  return __shfl_sync(0xffffffffu, v, static_cast<int>(lane));
}
GPU_INLINE bool any(bool condition) { return __any_sync(0xffffffffu, condition) != 0; }

GPU_INLINE unsigned load4(const void* p) { return __ldg(static_cast<const unsigned*>(p)); }
GPU_INLINE U2 load8(const void* p) {
  const uint2 v = __ldg(static_cast<const uint2*>(p));
  return {v.x, v.y};
}
GPU_INLINE U4 load16(const void* p) {
  const uint4 v = __ldg(static_cast<const uint4*>(p));
  return {v.x, v.y, v.z, v.w};
}

GPU_INLINE unsigned bits_of(float f) { return __float_as_uint(f); }
GPU_INLINE float float_of(unsigned bits) { return __uint_as_float(bits); }

GPU_INLINE float fma(float a, float b, float c) { return fmaf(a, b, c); }
GPU_INLINE int round_even_to_int(float x) { return __float2int_rn(x); }
GPU_INLINE float absolute(float x) { return fabsf(x); }
GPU_INLINE float max(float a, float b) { return fmaxf(a, b); }
GPU_INLINE float min(float a, float b) { return fminf(a, b); }
GPU_INLINE float exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
GPU_INLINE float reciprocal_sqrt(float x) { return rsqrtf(x); }

}  // namespace leafcutter::gpu

#include "kernels/cuda/port_instructions.h"
