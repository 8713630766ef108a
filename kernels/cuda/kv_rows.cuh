// Rows of keys and values as kernels read them. Keys go by way of shared memory, where each lane has the row of a key; values are read where they lie, each lane some dimensions of a row.
// Loads are of units of 4, 8 or 16 bytes, as the rows' alignment allows.
//
// A dot product of a query and a key is one chain of fma over the dimensions in order, in every kernel.
#pragma once

#include "kernels/cuda/kv_row_shape.h"
#include "kernels/cuda/port.h"

namespace leafcutter::gpu {

GPU_INLINE void load_unit(const unsigned char* p, unsigned (&w)[1]) { w[0] = load4(p); }
GPU_INLINE void load_unit(const unsigned char* p, unsigned (&w)[2]) {
  const U2 v = load8(p);
  w[0] = v.x, w[1] = v.y;
}
GPU_INLINE void load_unit(const unsigned char* p, unsigned (&w)[4]) {
  const U4 v = load16(p);
  w[0] = v.x, w[1] = v.y, w[2] = v.z, w[3] = v.w;
}
GPU_INLINE void store_unit(unsigned char* p, const unsigned (&w)[1]) { *reinterpret_cast<unsigned*>(p) = w[0]; }
GPU_INLINE void store_unit(unsigned char* p, const unsigned (&w)[2]) { *reinterpret_cast<U2*>(p) = {w[0], w[1]}; }
GPU_INLINE void store_unit(unsigned char* p, const unsigned (&w)[4]) { *reinterpret_cast<U4*>(p) = {w[0], w[1], w[2], w[3]}; }

// The formats. A lane's kDims values of a row lie in kWords words and are what unpack() gives; q8: times `scale`.
struct FloatRows {
  static constexpr kernels::KvType kType = kernels::KvType::f32;
  static constexpr unsigned kChunkDims = kKvChunkBytes / 4;
  template <unsigned kDims>
  static constexpr unsigned kWords = kDims;
  template <unsigned kDims>
  GPU_INLINE void unpack(const unsigned (&w)[kDims], float, float (&v)[kDims]) {
    GPU_UNROLL
    for (unsigned i = 0; i < kDims; i++) v[i] = float_of(w[i]);
  }
};

struct HalfRows {
  static constexpr kernels::KvType kType = kernels::KvType::f16;
  static constexpr unsigned kChunkDims = kKvChunkBytes / 2;
  template <unsigned kDims>
  static constexpr unsigned kWords = kDims / 2;
  template <unsigned kDims>
  GPU_INLINE void unpack(const unsigned (&w)[kDims / 2], float, float (&v)[kDims]) {
    GPU_UNROLL
    for (unsigned i = 0; i < kDims / 2; i++) {
      v[2 * i] = half_to_float(static_cast<std::uint16_t>(w[i]));
      v[2 * i + 1] = half_to_float(static_cast<std::uint16_t>(w[i] >> 16));
    }
  }
};

struct CodeRows {
  static constexpr kernels::KvType kType = kernels::KvType::q8;
  static constexpr unsigned kChunkDims = kKvChunkBytes;
  template <unsigned kDims>
  static constexpr unsigned kWords = (kDims + 3) / 4;
  template <unsigned kDims>
  GPU_INLINE void unpack(const unsigned (&w)[(kDims + 3) / 4], float scale, float (&v)[kDims]) {
    GPU_UNROLL
    for (unsigned i = 0; i < kDims; i++) v[i] = static_cast<float>(static_cast<std::int8_t>(w[i / 4] >> 8 * (i % 4))) * scale;
  }
};

// sums[t] += q[t] . key over a chunk of `dims` dimensions, as it lies in shared memory: values, behind them zeros up to the end of 16 bytes, and the scales of q8 behind kKvChunkBytes. q: rows of floats in shared memory,
// 16-byte aligned.
template <class Rows, unsigned kQueries>
GPU_INLINE void add_dots(const unsigned char* key, unsigned dims, const float* q, unsigned q_stride, float (&sums)[kQueries]) {
  constexpr unsigned kDims = Rows::kChunkDims / (kKvChunkBytes / 16);  // in 16 bytes
  GPU_KEEP_LOOP
  for (unsigned first = 0; first < dims; first += kDims) {
    const U4 unit = *reinterpret_cast<const U4*>(key + first * (16 / kDims));
    const unsigned w[4] = {unit.x, unit.y, unit.z, unit.w};
    float scale = 0, v[kDims];
    if constexpr (Rows::kType == kernels::KvType::q8)
      scale = float_of(*reinterpret_cast<const unsigned*>(key + kKvChunkBytes + first / kKvGroup * 4));
    Rows::template unpack<kDims>(w, scale, v);
    GPU_UNROLL
    for (unsigned t = 0; t < kQueries; t++) GPU_UNROLL
    for (unsigned i = 0; i < kDims; i += 4) {
      const F4 x = *reinterpret_cast<const F4*>(q + t * q_stride + first + i);
      sums[t] = fma(x.x, v[i], sums[t]);
      sums[t] = fma(x.y, v[i + 1], sums[t]);
      sums[t] = fma(x.z, v[i + 2], sums[t]);
      sums[t] = fma(x.w, v[i + 3], sums[t]);
    }
  }
}

// A warp copies `bytes` from `from` of the rows in its lanes' slots to shared memory, a row to each `pitch`, with zeros behind them up to a multiple of 16 (q8: scales have none). All are multiples of kUnit.
// Neighbouring lanes read neighbouring units of a row.
template <unsigned kUnit>
GPU_INLINE void stage_rows(unsigned char* to, unsigned pitch, const unsigned char* from, unsigned row_bytes, unsigned slot, unsigned bytes,
                           unsigned padded_bytes) {
  unsigned shift = 0;  // of the lanes for a row
  while (kUnit << shift < padded_bytes) shift++;
  const unsigned rows_a_step = kWarp >> shift, steps = 1u << shift;
  const unsigned at = (lane() & (steps - 1)) * kUnit;
  GPU_KEEP_LOOP
  for (unsigned first = 0; first < steps; first += 4) {
    unsigned w[4][kUnit / 4] = {};
    GPU_UNROLL
    for (unsigned i = 0; i < 4; i++) {
      const unsigned row = (first + i) * rows_a_step + (lane() >> shift);
      const unsigned char* p = from + std::uint64_t{shuffle(slot, row % kWarp)} * row_bytes;
      if (row < kWarp && at < bytes) load_unit(p + at, w[i]);
    }
    GPU_UNROLL
    for (unsigned i = 0; i < 4; i++) {
      const unsigned row = (first + i) * rows_a_step + (lane() >> shift);
      if (row < kWarp && at < padded_bytes) store_unit(to + row * pitch + at, w[i]);
    }
  }
}

// The words that hold a lane's kDims values of a row, from dimension `first` on, the first of them in the lowest bits; zeros behind the row's end.
template <class Rows, unsigned kDims, unsigned kUnit>
GPU_INLINE void load_values(const unsigned char* row, unsigned first, unsigned value_bytes, unsigned (&w)[Rows::template kWords<kDims>]) {
  constexpr unsigned kWords = Rows::template kWords<kDims>, kStep = kUnit < 4 * kWords ? kUnit : 4 * kWords;
  const unsigned begin = first * (kKvChunkBytes / Rows::kChunkDims) / 4 * 4;
  GPU_UNROLL
  for (unsigned i = 0; i < kWords; i += kStep / 4) {
    unsigned unit[kStep / 4] = {};
    if (begin + i * 4 < value_bytes) load_unit(row + begin + i * 4, unit);
    GPU_UNROLL
    for (unsigned j = 0; j < kStep / 4; j++) w[i + j] = unit[j];
  }
  if constexpr (kDims * kKvChunkBytes / Rows::kChunkDims < 4) w[0] >>= 8 * (first % 4);  // two codes of a word
}

}  // namespace leafcutter::gpu
