// port.h for the host's compiler: kernels become functions that the emulator of tests/support/cuda_emulation runs once for each thread. What threads do together is the emulator's; it is declared here and
// defined there. Errors of a kernel (lanes that do not meet, misaligned loads, too much shared memory) end its launch.
#pragma once

#include <bit>
#include <cmath>
#include <cstring>
#include <source_location>

#include "base/half.h"
#include "kernels/cuda/port_types.h"

#define GPU_INLINE static inline
#define GPU_KERNEL(name, Arguments, most_threads)                                                                              \
  static void name([[maybe_unused]] const Arguments a);                                                                        \
  static const ::leafcutter::gpu::emulation::Registration registration_of_##name(                                              \
      #name, sizeof(Arguments), most_threads, [](const void* arguments) { name(*static_cast<const Arguments*>(arguments)); }); \
  static void name([[maybe_unused]] const Arguments a)
#define GPU_SHARED(type, name, count)   \
  static const char site_of_##name = 0; \
  type* const name = static_cast<type*>(::leafcutter::gpu::emulation::shared_array(&site_of_##name, sizeof(type) * (count), alignof(type)))
#define GPU_DYNAMIC_SHARED(type, name) type* const name = static_cast<type*>(::leafcutter::gpu::emulation::dynamic_shared())
#define GPU_UNROLL
#define GPU_KEEP_LOOP

namespace leafcutter::gpu::emulation {

struct Position {
  unsigned thread, threads, block[3], grid[3];
};
inline constinit thread_local Position position{};  // of the thread that runs; kept by the emulator

// All kernels of the program, in a list.
struct Registration {
  Registration(const char* kernel, std::size_t bytes, unsigned threads, void (*body)(const void*))
      : name(kernel), argument_bytes(bytes), most_threads(threads), run(body), next(first) {
    first = this;
  }
  const char* name;
  std::size_t argument_bytes;
  unsigned most_threads;
  void (*run)(const void* arguments);
  const Registration* next;
  static inline constinit const Registration* first = nullptr;
};

using Place = std::source_location;

enum class Meeting : std::uint8_t { sync_warp, shuffle_xor, shuffle, any };
// Waits for the other lanes of the warp; gives what the hardware's instruction would.
std::uint32_t meet(Meeting meeting, std::uint32_t value, std::uint32_t argument, const Place& place);
void sync_block(const Place& place);
void* shared_array(const void* site, std::size_t bytes, std::size_t alignment);  // the same for all threads of a block
void* dynamic_shared();
void check_aligned(const void* p, std::size_t alignment, const Place& place);

}  // namespace leafcutter::gpu::emulation

namespace leafcutter::gpu {

GPU_INLINE unsigned thread() { return emulation::position.thread; }
GPU_INLINE unsigned threads() { return emulation::position.threads; }
GPU_INLINE unsigned block_x() { return emulation::position.block[0]; }
GPU_INLINE unsigned block_y() { return emulation::position.block[1]; }
GPU_INLINE unsigned block_z() { return emulation::position.block[2]; }
GPU_INLINE unsigned grid_x() { return emulation::position.grid[0]; }
GPU_INLINE unsigned grid_y() { return emulation::position.grid[1]; }
GPU_INLINE unsigned grid_z() { return emulation::position.grid[2]; }

GPU_INLINE void sync_block(emulation::Place place = emulation::Place::current()) { emulation::sync_block(place); }
GPU_INLINE void sync_warp(emulation::Place place = emulation::Place::current()) {
  emulation::meet(emulation::Meeting::sync_warp, 0, 0, place);
}

template <class T>
GPU_INLINE T shuffle_xor(T v, unsigned mask, emulation::Place place = emulation::Place::current()) {
  return std::bit_cast<T>(emulation::meet(emulation::Meeting::shuffle_xor, std::bit_cast<std::uint32_t>(v), mask, place));
}
template <class T>
GPU_INLINE T shuffle(T v, unsigned lane, emulation::Place place = emulation::Place::current()) {
  return std::bit_cast<T>(emulation::meet(emulation::Meeting::shuffle, std::bit_cast<std::uint32_t>(v), lane, place));
}
GPU_INLINE bool any(bool condition, emulation::Place place = emulation::Place::current()) {
  return emulation::meet(emulation::Meeting::any, condition, 0, place) != 0;
}

GPU_INLINE int dp4a(int a, int b, int c) {
  for (int i = 0; i < 32; i += 8)  // wraps, as the instruction does
    c = static_cast<int>(static_cast<unsigned>(c) +
                         static_cast<unsigned>(static_cast<std::int8_t>(a >> i) * static_cast<std::int8_t>(b >> i)));
  return c;
}
GPU_INLINE int dp4a_us(unsigned a, int b, int c) {
  for (int i = 0; i < 32; i += 8)
    c = static_cast<int>(static_cast<unsigned>(c) +
                         static_cast<unsigned>(static_cast<std::uint8_t>(a >> i) * static_cast<std::int8_t>(b >> i)));
  return c;
}

template <class T>
GPU_INLINE T load_aligned(const void* p, const emulation::Place& place) {
  emulation::check_aligned(p, sizeof(T), place);
  return *static_cast<const T*>(p);
}
GPU_INLINE unsigned load4(const void* p, emulation::Place place = emulation::Place::current()) { return load_aligned<unsigned>(p, place); }
GPU_INLINE U2 load8(const void* p, emulation::Place place = emulation::Place::current()) { return load_aligned<U2>(p, place); }
GPU_INLINE U4 load16(const void* p, emulation::Place place = emulation::Place::current()) { return load_aligned<U4>(p, place); }

GPU_INLINE float half_to_float(std::uint16_t h) { return float_from_half(h); }
GPU_INLINE std::uint16_t float_to_half(float f) { return half_from_float(f); }
GPU_INLINE unsigned bits_of(float f) { return std::bit_cast<unsigned>(f); }
GPU_INLINE float float_of(unsigned bits) { return std::bit_cast<float>(bits); }

GPU_INLINE unsigned opaque(unsigned v) { return v; }
GPU_INLINE float fma(float a, float b, float c) { return std::fma(a, b, c); }
GPU_INLINE int round_even_to_int(float x) { return static_cast<int>(std::nearbyint(x)); }
GPU_INLINE float absolute(float x) { return std::fabs(x); }
GPU_INLINE float max(float a, float b) { return std::fmax(a, b); }
GPU_INLINE float min(float a, float b) { return std::fmin(a, b); }
GPU_INLINE float exp2(float x) {
  const float y = std::exp2(x);
  return y < 0x1p-126f ? 0 : y;
}
GPU_INLINE float reciprocal_sqrt(float x) { return 1 / std::sqrt(x); }

}  // namespace leafcutter::gpu
