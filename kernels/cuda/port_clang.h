// port.h for clang, which makes the PTX that ships. Only what the compiler itself knows and single PTX instructions: no header and no library of a toolkit.
#pragma once

#include "kernels/cuda/port_types.h"

#define GPU_INLINE static inline __attribute__((device, always_inline))
#define GPU_KERNEL(name, Arguments, most_threads) \
  extern "C" __attribute__((global, launch_bounds(most_threads))) void name([[maybe_unused]] const Arguments a)
#define GPU_SHARED(type, name, count) static __attribute__((shared)) type name[count]
#define GPU_DYNAMIC_SHARED(type, name) type* const name = reinterpret_cast<type*>(::leafcutter::gpu::lc_dynamic_shared)
#define GPU_UNROLL _Pragma("unroll")
#define GPU_KEEP_LOOP _Pragma("unroll 1")

namespace leafcutter::gpu {

extern "C" {
extern __attribute__((shared, aligned(16))) unsigned char lc_dynamic_shared[];
}

GPU_INLINE unsigned thread() { return __nvvm_read_ptx_sreg_tid_x(); }
GPU_INLINE unsigned threads() { return __nvvm_read_ptx_sreg_ntid_x(); }
GPU_INLINE unsigned block_x() { return __nvvm_read_ptx_sreg_ctaid_x(); }
GPU_INLINE unsigned block_y() { return __nvvm_read_ptx_sreg_ctaid_y(); }
GPU_INLINE unsigned block_z() { return __nvvm_read_ptx_sreg_ctaid_z(); }
GPU_INLINE unsigned grid_x() { return __nvvm_read_ptx_sreg_nctaid_x(); }
GPU_INLINE unsigned grid_y() { return __nvvm_read_ptx_sreg_nctaid_y(); }
GPU_INLINE unsigned grid_z() { return __nvvm_read_ptx_sreg_nctaid_z(); }

GPU_INLINE void sync_block() { __syncthreads(); }
GPU_INLINE void sync_warp() { __nvvm_bar_warp_sync(0xffffffffu); }

GPU_INLINE float shuffle_xor(float v, unsigned mask) { return __nvvm_shfl_sync_bfly_f32(0xffffffffu, v, static_cast<int>(mask), 31); }
GPU_INLINE int shuffle_xor(int v, unsigned mask) { return __nvvm_shfl_sync_bfly_i32(0xffffffffu, v, static_cast<int>(mask), 31); }
GPU_INLINE unsigned shuffle_xor(unsigned v, unsigned mask) { return static_cast<unsigned>(shuffle_xor(static_cast<int>(v), mask)); }
GPU_INLINE float shuffle(float v, unsigned lane) { return __nvvm_shfl_sync_idx_f32(0xffffffffu, v, static_cast<int>(lane), 31); }
GPU_INLINE int shuffle(int v, unsigned lane) { return __nvvm_shfl_sync_idx_i32(0xffffffffu, v, static_cast<int>(lane), 31); }
GPU_INLINE unsigned shuffle(unsigned v, unsigned lane) { return static_cast<unsigned>(shuffle(static_cast<int>(v), lane)); }
GPU_INLINE bool any(bool condition) { return __nvvm_vote_any_sync(0xffffffffu, condition); }

using Words2 __attribute__((ext_vector_type(2))) = unsigned;
using Words4 __attribute__((ext_vector_type(4))) = unsigned;
GPU_INLINE unsigned load4(const void* p) { return __nvvm_ldg_ui(static_cast<const unsigned*>(p)); }
GPU_INLINE U2 load8(const void* p) {
  const Words2 v = __nvvm_ldg_ui2(static_cast<const Words2*>(p));
  return {v.x, v.y};
}
GPU_INLINE U4 load16(const void* p) {
  const Words4 v = __nvvm_ldg_ui4(static_cast<const Words4*>(p));
  return {v.x, v.y, v.z, v.w};
}

GPU_INLINE unsigned bits_of(float f) { return __builtin_bit_cast(unsigned, f); }
GPU_INLINE float float_of(unsigned bits) { return __builtin_bit_cast(float, bits); }

GPU_INLINE float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
GPU_INLINE int round_even_to_int(float x) { return __nvvm_f2i_rn(x); }
GPU_INLINE float absolute(float x) { return __builtin_fabsf(x); }
GPU_INLINE float max(float a, float b) { return __builtin_fmaxf(a, b); }
GPU_INLINE float min(float a, float b) { return __builtin_fminf(a, b); }
GPU_INLINE float exp2(float x) { return __nvvm_ex2_approx_ftz_f(x); }
GPU_INLINE float reciprocal_sqrt(float x) { return __nvvm_rsqrt_approx_f(x); }

}  // namespace leafcutter::gpu

#include "kernels/cuda/port_instructions.h"
