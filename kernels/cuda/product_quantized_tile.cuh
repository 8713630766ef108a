// Products of many rows with quantized layouts: product_tile.cuh in steps of one group of 32 k, whose codes lie in shared memory as bytes whatever the layout.
#pragma once

#include "kernels/cuda/product_tile.cuh"

namespace leafcutter::gpu {

// A step in shared memory.
struct QuantizedStep {
  U4 codes[kGroupWords][kOutputQuads];  // a byte a code
  U4 rows[kGroupWords][kRowQuads];      // int8 activations
  F4 scales[kOutputQuads], minima[kOutputQuads];
  F4 x_scales[kRowQuads], x_magics[kRowQuads], x_sums[kRowQuads];
  U4 starts[kRowQuads];
};

// What a thread brings of a step.
template <Layout kLayout>
struct QuantizedShare {
  U4 lines[kGroupLines<kLayout> / 4];  // warp: line, and line + 4; lane: quad
  U4 activations;                      // thread: half of the words, row
  U4 rest;                             // threads 64..: row
  QuadScales scales;                   // threads ..31: quad
};

template <Layout kLayout>
GPU_INLINE QuantizedShare<kLayout> load_share(const kernels::ProductLaunch& a, const TileBlock& block, unsigned group) {
  constexpr GroupShape kShape = kernels::group_shape(kLayout);
  QuantizedShare<kLayout> share{};
  const unsigned strip_index = min(lane() / kStripQuads, block.last_strip);
  const unsigned char* strip =
      at<const unsigned char>(a.weights) + (block.first_strip + strip_index) * strip_bytes_of(kShape, groups_of(a.k));
  const unsigned quad = lane() % kStripQuads;
  GPU_UNROLL
  for (unsigned i = 0; i < kGroupLines<kLayout> / 4; i++) share.lines[i] = load_line<kLayout>(strip, group, warp() + 4 * i, quad);

  const unsigned row = min(thread() % kTileRows, block.last_row);
  const unsigned char* record = at<const unsigned char>(a.groups) + (group * a.rows + block.first_row + row) * kRecord;
  share.activations = load16(record + thread() / kTileRows * 16);
  if (thread() >= kTileRows) share.rest = load16(record + kRecordRest);
  if (warp() == 0) share.scales = quad_scales<kLayout>(strip, group, quad, quad_d<kLayout>(strip, quad), quad_m<kLayout>(strip, quad));
  return share;
}

template <Layout kLayout>
GPU_INLINE void store_share(const QuantizedShare<kLayout>& share, QuantizedStep& step) {
  constexpr GroupShape kShape = kernels::group_shape(kLayout);
  constexpr unsigned kWords = kLineWords<kLayout>;
  GPU_UNROLL
  for (unsigned i = 0; i < kGroupLines<kLayout> / 4; i++) {
    const U4& line = share.lines[i];
    GPU_UNROLL
    for (unsigned w = 0; w < kWords; w++)
      step.codes[(warp() + 4 * i) * kWords + w][lane()] = {codes_of<kLayout>(line.x, w), codes_of<kLayout>(line.y, w),
                                                           codes_of<kLayout>(line.z, w), codes_of<kLayout>(line.w, w)};
  }
  const unsigned row = thread() % kTileRows, half = thread() / kTileRows;
  GPU_UNROLL
  for (unsigned i = 0; i < 4; i++) reinterpret_cast<unsigned*>(step.rows[half * 4 + i])[row] = word(share.activations, i);
  if (thread() >= kTileRows) {
    const GroupActivations x = group_activations<kLayout>(share.rest);
    reinterpret_cast<float*>(step.x_scales)[row] = x.scale;
    reinterpret_cast<float*>(step.x_magics)[row] = x.magic;
    if constexpr (kShape.minima) reinterpret_cast<float*>(step.x_sums)[row] = x.sum;
    if constexpr (kShape.zero != 0) reinterpret_cast<int*>(step.starts)[row] = x.start;
  }
  if (warp() == 0) {
    const QuadScales& s = share.scales;
    step.scales[lane()] = {s.scale[0], s.scale[1], s.scale[2], s.scale[3]};
    if constexpr (kShape.minima) step.minima[lane()] = {s.minimum[0], s.minimum[1], s.minimum[2], s.minimum[3]};
  }
}

template <Layout kLayout>
GPU_INLINE void add_step(const QuantizedStep& step, const TileThread& mine, TileSums& sums) {
  constexpr GroupShape kShape = kernels::group_shape(kLayout);
  const unsigned o0 = mine.output_quad, o1 = o0 + kOutputQuads / 2, m0 = mine.row_quad, m1 = m0 + kRowQuads / 2;
  int dots[kSide][kSide];
  if constexpr (kShape.zero != 0) {
    const U4 starts[2] = {step.starts[m0], step.starts[m1]};
    GPU_UNROLL
    for (unsigned r = 0; r < kSide; r++) {
      GPU_UNROLL
      for (unsigned m = 0; m < kSide; m++) dots[r][m] = static_cast<int>(word(starts[m / kQuad], m % kQuad));
    }
  } else {
    GPU_UNROLL
    for (unsigned r = 0; r < kSide; r++) {
      GPU_UNROLL
      for (unsigned m = 0; m < kSide; m++) dots[r][m] = kMagic;
    }
  }
  GPU_UNROLL
  for (unsigned w = 0; w < kGroupWords; w++) {
    const U4 codes[2] = {step.codes[w][o0], step.codes[w][o1]}, rows[2] = {step.rows[w][m0], step.rows[w][m1]};
    GPU_UNROLL
    for (unsigned r = 0; r < kSide; r++) {
      GPU_UNROLL
      for (unsigned m = 0; m < kSide; m++)
        dots[r][m] = dp4a_us(word(codes[r / kQuad], r % kQuad), static_cast<int>(word(rows[m / kQuad], m % kQuad)), dots[r][m]);
    }
  }
  const F4 scales[2] = {step.scales[o0], step.scales[o1]};
  F4 minima[2] = {}, x_sums[2] = {};
  const F4 x_scales[2] = {step.x_scales[m0], step.x_scales[m1]}, x_magics[2] = {step.x_magics[m0], step.x_magics[m1]};
  if constexpr (kShape.minima) {
    minima[0] = step.minima[o0], minima[1] = step.minima[o1];
    x_sums[0] = step.x_sums[m0], x_sums[1] = step.x_sums[m1];
  }
  GPU_UNROLL
  for (unsigned r = 0; r < kSide; r++) {
    GPU_UNROLL
    for (unsigned m = 0; m < kSide; m++)
      sums[r][m] = add_group<kShape.minima>(sums[r][m], dots[r][m], word(scales[r / kQuad], r % kQuad), word(minima[r / kQuad], r % kQuad),
                                            word(x_scales[m / kQuad], m % kQuad), word(x_magics[m / kQuad], m % kQuad),
                                            word(x_sums[m / kQuad], m % kQuad));
  }
}

template <Layout kLayout>
GPU_INLINE void quantized_tile(const kernels::ProductLaunch& a) {
  GPU_SHARED(QuantizedStep, steps, 2);
  const TileBlock block = tile_block(a);
  const TileThread mine = tile_thread();
  const unsigned groups = groups_of(a.k);
  TileSums sums = {}, totals = {};
  store_share<kLayout>(load_share<kLayout>(a, block, 0), steps[0]);
  sync_block();
  for (unsigned g = 0, turn = 0;; turn ^= 1) {
    const NextGroup next = next_group(g, groups);
    QuantizedShare<kLayout> share{};
    if (next.more) share = load_share<kLayout>(a, block, next.group);
    add_step<kLayout>(steps[turn], mine, sums);
    if (next.closes) close_partial(totals, sums);
    if (!next.more) break;
    store_share<kLayout>(share, steps[turn ^ 1]);
    sync_block();
    g = next.group;
  }
  write_tile(a, block, mine, totals);
}

}  // namespace leafcutter::gpu
