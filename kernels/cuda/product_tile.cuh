// Products of many rows: a block is 128 outputs and 64 rows, a thread two quads of outputs 64 apart and two quads of rows 32 apart. Step by step, weights and activations go through shared memory: the next
// step is loaded while this one is multiplied. A block with no more than 32 rows leaves the second quads of rows out, which is nearly half of its work. The order of sums is that of product_shape.h, to the bit: a thread walks partial by partial.
//
// All loads from shared memory take 16 bytes; the 8 lanes that the hardware serves at a time read 128 bytes side by side (weights) or one place (activations): no bank conflicts.
#pragma once

#include "kernels/cuda/product_weights.cuh"

namespace leafcutter::gpu {

constexpr unsigned kTileStrips = kTileOutputs / kStripRows;
constexpr unsigned kOutputQuads = kTileOutputs / kQuad, kRowQuads = kTileRows / kQuad;
constexpr unsigned kSide = 2 * kQuad;  // outputs, and rows, of a thread

// Which sums are this thread's.
struct TileThread {
  unsigned output_quad, row_quad;  // and those half a tile further
};
GPU_INLINE TileThread tile_thread() {
  const unsigned t = opaque(thread());
  return {t / kWarp % 2 * 8 + t % 8, t / kWarp / 2 * 4 + t % kWarp / 8};
}

// Registers are short in the tile kernels: what is needed once a partial or at the end alone is computed anew there, from opaque values, or the compiler would keep it.

// The block's outputs and rows, outputs slowest: the blocks that read the same weights run at the same time.
struct TileBlock {
  std::uint64_t first_strip, first_row;
  unsigned last_strip, last_row;  // of the block: those past them are computed again, and not written
};
GPU_INLINE TileBlock tile_block(const kernels::ProductLaunch& a) {
  const unsigned row_tiles = static_cast<unsigned>((a.rows + kTileRows - 1) / kTileRows), index = opaque(block_x());
  const std::uint64_t first_strip = std::uint64_t{index / row_tiles} * kTileStrips,
                      first_row = std::uint64_t{index % row_tiles} * kTileRows;
  const std::uint64_t strips = a.strips - first_strip, rows = a.rows - first_row;
  return {first_strip, first_row, static_cast<unsigned>(strips < kTileStrips ? strips : kTileStrips) - 1,
          static_cast<unsigned>(rows < kTileRows ? rows : kTileRows) - 1};
}

// Of a tile with no more than half of its rows, threads have one quad of rows.
GPU_INLINE bool has_both_halves(const kernels::ProductLaunch& a) { return tile_block(a).last_row >= kTileRows / 2; }

using TileSums = float[kSide][kSide];  // [output][row]

GPU_INLINE void close_partial(TileSums& totals, TileSums& sums) {
  GPU_UNROLL
  for (unsigned r = 0; r < kSide; r++) {
    GPU_UNROLL
    for (unsigned m = 0; m < kSide; m++) {
      totals[r][m] += sums[r][m];
      sums[r][m] = 0;
    }
  }
}

// How far the i-th of a thread's outputs (rows) is behind its first one: two quads, half a tile apart.
template <unsigned kTile>
GPU_INLINE unsigned place_of(unsigned i) {
  return i / kQuad * (kTile / 2) + i % kQuad;
}

GPU_INLINE void write_tile(const kernels::ProductLaunch& a, const TileSums& totals) {
  const TileBlock block = tile_block(a);
  const TileThread mine = tile_thread();
  const std::uint64_t first_row = block.first_row + mine.row_quad * kQuad,
                      first_output = block.first_strip * kStripRows + mine.output_quad * kQuad;
  const std::uint64_t there = first_output < a.outputs ? a.outputs - first_output : 0;
  const unsigned left = there < kTileOutputs ? static_cast<unsigned>(there) : kTileOutputs;
  float bias[kSide];
  GPU_UNROLL
  for (unsigned r = 0; r < kSide; r++) {
    const unsigned output = place_of<kTileOutputs>(r);
    bias[r] = a.bias.value != 0 && output < left ? at<const float>(a.bias)[first_output + output] : 0;
  }
  GPU_UNROLL
  for (unsigned m = 0; m < kSide; m++) {
    const std::uint64_t row = first_row + place_of<kTileRows>(m);
    if (row >= a.rows) continue;
    float* const y = at<float>(a.y) + row * a.y_stride + first_output;
    GPU_UNROLL
    for (unsigned r = 0; r < kSide; r++) {
      const unsigned output = place_of<kTileOutputs>(r);
      if (output < left) y[output] = finished(a, totals[r][m], bias[r]);
    }
  }
}

}  // namespace leafcutter::gpu
