// Products of few rows: a block is one strip and up to kRows rows, a lane a quad of outputs and one partial of product_shape.h.
//
// Bytes moved: the weights once. The lanes of a quad read 64 bytes side by side, a warp 16 whole sectors with every 16-byte load (float halves: 8 with every 8-byte load), and its 8 groups are one stretch of
// memory over the loads of an iteration. Activations come from the caches. Shared memory only collects the partials, without bank conflicts.
#pragma once

#include "kernels/cuda/product_weights.cuh"

namespace leafcutter::gpu {

constexpr unsigned kPartialsStride =
    kProductPartials * kStripRows + kStripRows;  // floats of a row's partials; the rest puts two rows side by side in the banks

// Strip and rows of this block, strips slowest: the blocks that read the same weights run at the same time.
template <unsigned kRows>
struct RowsBlock {
  std::uint64_t strip, first_row;
  unsigned last;  // row of the block: rows past it are computed again, and not written
  unsigned quad, partial;
};

template <unsigned kRows>
GPU_INLINE RowsBlock<kRows> rows_block(const kernels::ProductLaunch& a) {
  const unsigned row_blocks = static_cast<unsigned>((a.rows + kRows - 1) / kRows);
  const std::uint64_t first = std::uint64_t{block_x() % row_blocks} * kRows;
  const std::uint64_t left = a.rows - first;
  return {block_x() / row_blocks, first, static_cast<unsigned>(left < kRows ? left : kRows) - 1, thread() % kStripQuads,
          thread() / kStripQuads};
}

template <unsigned kRows>
GPU_INLINE void add_partials(const kernels::ProductLaunch& a, const RowsBlock<kRows>& block, const float (&sums)[kRows][kQuad]) {
  GPU_SHARED(F4, partials, kRows * kPartialsStride / kQuad);
  GPU_UNROLL
  for (unsigned m = 0; m < kRows; m++)
    partials[m * (kPartialsStride / kQuad) + thread()] = {sums[m][0], sums[m][1], sums[m][2], sums[m][3]};
  sync_block();
  for (unsigned i = thread(); i < kRows * kStripRows; i += kRowsThreads) {
    const unsigned m = i / kStripRows, r = i % kStripRows;
    const float* row = reinterpret_cast<const float*>(partials) + m * kPartialsStride + r;
    float total = 0;
    GPU_UNROLL
    for (unsigned p = 0; p < kProductPartials; p++) total += row[p * kStripRows];
    if (m <= block.last) write_output(a, block.first_row + m, block.strip * kStripRows + r, total);
  }
}

template <Layout kLayout, unsigned kRows>
GPU_INLINE void quantized_rows(const kernels::ProductLaunch& a) {
  constexpr GroupShape kShape = kernels::group_shape(kLayout);
  const RowsBlock<kRows> block = rows_block<kRows>(a);
  const unsigned groups = groups_of(a.k);
  const unsigned char* strip = at<const unsigned char>(a.weights) + block.strip * strip_bytes_of(kShape, groups);
  const F4 d = quad_d<kLayout>(strip, block.quad), minimum = quad_m<kLayout>(strip, block.quad);

  const unsigned char* record = at<const unsigned char>(a.groups) + (block.partial * a.rows + block.first_row) * kRecord;
  const std::uint64_t record_stride = kProductPartials * a.rows * kRecord;
  float sums[kRows][kQuad] = {};
  for (unsigned g = block.partial; g < groups; g += kProductPartials, record += record_stride) {
    U4 lines[kGroupLines<kLayout>];
    GPU_UNROLL
    for (unsigned i = 0; i < kGroupLines<kLayout>; i++) lines[i] = load16(codes_at<kLayout>(strip, g, block.quad) + i * 64);
    const QuadScales scales =
        quad_scales<kLayout>(load_head<kLayout>(head_of<kLayout>(strip, g) + block.quad * kHeadQuad<kLayout>), d, minimum);
    GPU_UNROLL
    for (unsigned m = 0; m < kRows; m++) {
      const unsigned char* mine = record + (m < block.last ? m : block.last) * kRecord;
      const U4 halves[2] = {load16(mine), load16(mine + 16)};
      const GroupActivations x = group_activations<kLayout>(load16(mine + kRecordRest));
      int dot[kQuad] = {x.start, x.start, x.start, x.start};
      GPU_UNROLL
      for (unsigned i = 0; i < kGroupWords; i++) {
        const int q = static_cast<int>(word(halves[i / 4], i % 4));
        constexpr unsigned kWords = kLineWords<kLayout>;
        GPU_UNROLL
        for (unsigned r = 0; r < kQuad; r++) dot[r] = dp4a_us(codes_of<kLayout>(word(lines[i / kWords], r), i % kWords), q, dot[r]);
      }
      GPU_UNROLL
      for (unsigned r = 0; r < kQuad; r++) {
        if constexpr (kShape.minima) sums[m][r] = add_minimum(sums[m][r], scales.minimum[r], x.sum);
        sums[m][r] = add_scaled(sums[m][r], dot[r], scales.scale[r], x.scale, x.magic);
      }
    }
  }
  add_partials<kRows>(a, block, sums);
}

template <unsigned kRows>
GPU_INLINE void add_float_line(const F4& line, unsigned m, float value, float (&sums)[kRows][kQuad]) {
  GPU_UNROLL
  for (unsigned r = 0; r < kQuad; r++) sums[m][r] = fma(word(line, r), value, sums[m][r]);
}

template <Layout kLayout, unsigned kRows>
GPU_INLINE void float_rows(const kernels::ProductLaunch& a) {
  constexpr unsigned kAhead = 8;  // lines that are on their way at a time
  const RowsBlock<kRows> block = rows_block<kRows>(a);
  const unsigned char* strip = at<const unsigned char>(a.weights) + block.strip * float_strip_bytes<kLayout>(a.k);
  const float* x[kRows];
  GPU_UNROLL
  for (unsigned m = 0; m < kRows; m++) x[m] = at<const float>(a.x) + (block.first_row + (m < block.last ? m : block.last)) * a.x_stride;
  // Rows that do not begin at multiples of 16 bytes are read value by value: slower, in the same order.
  const bool aligned = (a.x.value | a.x_stride * sizeof(float)) % 16 == 0;

  float sums[kRows][kQuad] = {};
  for (std::uint64_t k = std::uint64_t{block.partial} * kGroup; k < a.k; k += kProductPartials * kGroup) {
    const std::uint64_t end = k + kGroup < a.k ? k + kGroup : a.k;
    std::uint64_t i = k;
    for (; aligned && i + kAhead <= end; i += kAhead) {
      F4 lines[kAhead];
      GPU_UNROLL
      for (unsigned j = 0; j < kAhead; j++) lines[j] = load_floats<kLayout>(strip, i + j, block.quad);
      GPU_UNROLL
      for (unsigned m = 0; m < kRows; m++) {
        const F4 values[2] = {floats_of(load16(x[m] + i)), floats_of(load16(x[m] + i + 4))};
        GPU_UNROLL
        for (unsigned j = 0; j < kAhead; j++) add_float_line(lines[j], m, word(values[j / 4], j % 4), sums);
      }
    }
    for (; i < end; i++) {
      const F4 line = load_floats<kLayout>(strip, i, block.quad);
      GPU_UNROLL
      for (unsigned m = 0; m < kRows; m++) add_float_line(line, m, float_of(load4(x[m] + i)), sums);
    }
  }
  add_partials<kRows>(a, block, sums);
}

}  // namespace leafcutter::gpu
