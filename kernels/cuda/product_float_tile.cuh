// Products of many rows with float layouts: product_tile.cuh in steps of 16 k, half a group of the order of sums; weights lie in shared memory as floats.
#pragma once

#include "kernels/cuda/product_tile.cuh"

namespace leafcutter::gpu {

constexpr unsigned kFloatStep = 16;                   // k
constexpr unsigned kFloatRowsStride = kTileRows + 8;  // floats of a k: so the stores of a warp, 4 k x 8 rows, meet every bank once
constexpr unsigned kFloatLines = kFloatStep * kOutputQuads / kTileThreads, kFloatValues = kFloatStep * kTileRows / kTileThreads;

struct FloatStep {
  F4 weights[kFloatStep][kOutputQuads];
  F4 rows[kFloatStep][kFloatRowsStride / kQuad];
};

// What a thread brings of a step.
struct FloatShare {
  F4 lines[kFloatLines];       // warp + 4 i: k; lane: quad
  float values[kFloatValues];  // lane: k and row, 4 x 8 a warp
};

// k past the end counts as 0 x 0, which changes no sum.
template <Layout kLayout>
GPU_INLINE FloatShare load_float_share(const kernels::ProductLaunch& a, const TileBlock& block, std::uint64_t k) {
  FloatShare share{};
  const unsigned strip_index = min(lane() / kStripQuads, block.last_strip);
  const unsigned char* strip = at<const unsigned char>(a.weights) + (block.first_strip + strip_index) * float_strip_bytes<kLayout>(a.k);
  GPU_UNROLL
  for (unsigned i = 0; i < kFloatLines; i++) {
    const std::uint64_t mine = k + warp() + 4 * i;
    if (mine < a.k) share.lines[i] = load_floats<kLayout>(strip, mine, lane() % kStripQuads);
  }
  GPU_UNROLL
  for (unsigned i = 0; i < kFloatValues; i++) {
    const std::uint64_t mine = k + lane() % 4 + i % 4 * 4;
    const unsigned row = min(thread() / 4 + i / 4 * (kTileRows / 2), block.last_row);
    if (mine < a.k) share.values[i] = float_of(load4(at<const float>(a.x) + (block.first_row + row) * a.x_stride + mine));
  }
  return share;
}

GPU_INLINE void store_float_share(const FloatShare& share, FloatStep& step) {
  GPU_UNROLL
  for (unsigned i = 0; i < kFloatLines; i++) step.weights[warp() + 4 * i][lane()] = share.lines[i];
  GPU_UNROLL
  for (unsigned i = 0; i < kFloatValues; i++)
    reinterpret_cast<float*>(step.rows[lane() % 4 + i % 4 * 4])[thread() / 4 + i / 4 * (kTileRows / 2)] = share.values[i];
}

template <unsigned kRows>
GPU_INLINE void add_float_step(const FloatStep& step, const TileThread& mine, TileSums& sums) {
  GPU_UNROLL
  for (unsigned i = 0; i < kFloatStep; i++) {
    const F4 weights[2] = {step.weights[i][mine.output_quad], step.weights[i][mine.output_quad + kOutputQuads / 2]};
    F4 rows[kRows / kQuad];
    GPU_UNROLL
    for (unsigned j = 0; j < kRows / kQuad; j++) rows[j] = step.rows[i][mine.row_quad + j * (kRowQuads / 2)];
    GPU_UNROLL
    for (unsigned r = 0; r < kSide; r++) {
      GPU_UNROLL
      for (unsigned m = 0; m < kRows; m++)
        sums[r][m] = fma(word(weights[r / kQuad], r % kQuad), word(rows[m / kQuad], m % kQuad), sums[r][m]);
    }
  }
}

template <Layout kLayout>
GPU_INLINE void float_tile(const kernels::ProductLaunch& a) {
  GPU_SHARED(FloatStep, steps, 2);
  const TileBlock block = tile_block(a);
  const TileThread mine = tile_thread();
  const unsigned groups = groups_of(a.k), partials = min(groups, kProductPartials);
  const bool whole = has_both_halves(a);
  store_float_share(load_float_share<kLayout>(a, block, 0), steps[0]);
  sync_block();
  TileSums totals = {}, sums = {};
  for (unsigned partial = 0; partial < partials; partial++) {
    for (unsigned g = partial; g < groups; g += kProductPartials) {
      const FloatShare second = load_float_share<kLayout>(a, block, std::uint64_t{g} * kGroup + kFloatStep);
      if (whole)
        add_float_step<kSide>(steps[0], mine, sums);
      else
        add_float_step<kQuad>(steps[0], mine, sums);
      store_float_share(second, steps[1]);
      sync_block();
      const unsigned next = g + kProductPartials < groups ? g + kProductPartials : partial + 1;
      FloatShare first{};
      if (next < groups) first = load_float_share<kLayout>(a, block, std::uint64_t{next} * kGroup);
      if (whole)
        add_float_step<kSide>(steps[1], mine, sums);
      else
        add_float_step<kQuad>(steps[1], mine, sums);
      store_float_share(first, steps[0]);
      sync_block();
    }
    close_partial(totals, sums);
  }
  write_tile(a, totals);
}

}  // namespace leafcutter::gpu
