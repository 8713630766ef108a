// Products of many rows with quantized layouts: product_tile.cuh in steps of one group of 32 k. Codes lie in shared memory as signed bytes, code - zero, whatever the layout.
#pragma once

#include "kernels/cuda/product_tile.cuh"

namespace leafcutter::gpu {

// A step in shared memory.
struct QuantizedStep {
  U4 codes[kGroupWords][kOutputQuads];
  U4 rows[kGroupWords][kRowQuads];  // int8 activations
  F4 scales[kOutputQuads], minima[kOutputQuads];
  F4 x_scales[kRowQuads], x_magics[kRowQuads], x_sums[kRowQuads];
};

// Where a thread reads its share of a step. Of the tile's weights, warp w has lines w and w + 4 of a group and lane l the quad l; warp 0 brings the scales, too. Of its activations, a thread has half of a
// row's bytes; the second 64 threads bring the row's scale and sum.
struct QuantizedSource {
  const unsigned char* codes;
  const unsigned char* record;
  unsigned to_head;  // from the codes back to the quad's scales in the head of the group
};
template <Layout kLayout>
struct QuantizedShare {
  U4 lines[kGroupLines<kLayout> / 4];
  U4 activations;
  U2 rest;  // scale, sum
  QuadHead head;
};

template <Layout kLayout>
GPU_INLINE const unsigned char* strip_of(const kernels::ProductLaunch& a, const TileBlock& block) {
  const unsigned strip = min(lane() / kStripQuads, block.last_strip);
  return at<const unsigned char>(a.weights) + (block.first_strip + strip) * strip_bytes_of(kernels::group_shape(kLayout), groups_of(a.k));
}

// Of group 0.
template <Layout kLayout>
GPU_INLINE QuantizedSource first_source(const kernels::ProductLaunch& a, const TileBlock& block) {
  const unsigned char* strip = strip_of<kLayout>(a, block);
  const unsigned quad = lane() % kStripQuads, row = min(thread() % kTileRows, block.last_row);
  const unsigned char* codes = codes_at<kLayout>(strip, 0, quad) + warp() * 64;
  return {codes, at<const unsigned char>(a.groups) + (block.first_row + row) * kRecord + thread() / kTileRows * 16,
          static_cast<unsigned>(codes - head_of<kLayout>(strip, 0)) - quad * kHeadQuad<kLayout>};
}

// To the next group of the same partial.
template <Layout kLayout>
GPU_INLINE void advance(QuantizedSource& source, unsigned rows) {
  source.codes += kProductPartials / kernels::kGroupsPerBlock * kernels::group_shape(kLayout).block_bytes();
  source.record += kProductPartials * kRecord * rows;
}

// From the last group of a partial to the first one of the next.
template <Layout kLayout>
GPU_INLINE void advance_partial(QuantizedSource& source, unsigned partial, unsigned groups, unsigned rows) {
  constexpr GroupShape kShape = kernels::group_shape(kLayout);
  constexpr unsigned kBlock = kShape.block_bytes(), kCodes = kShape.group_codes, kHead = kShape.group_head;
  const unsigned steps = (groups - 1 - partial) / kProductPartials;
  const bool block_ends = partial % 4 == 3;
  source.codes -= std::uint64_t{steps} * (kProductPartials / kernels::kGroupsPerBlock * kBlock);
  source.codes += block_ends ? kBlock - 3 * kCodes : kCodes;
  source.to_head += block_ends ? 3 * kHead - 3 * kCodes : kCodes - kHead;
  source.record -= std::uint64_t{rows} * (steps * kProductPartials * kRecord);
  source.record += std::uint64_t{rows} * kRecord;
}

template <Layout kLayout>
GPU_INLINE QuantizedShare<kLayout> load_share(const QuantizedSource& source) {
  QuantizedShare<kLayout> share;  // what a thread does not bring is not read
  GPU_UNROLL
  for (unsigned i = 0; i < kGroupLines<kLayout> / 4; i++) share.lines[i] = load16(source.codes + i * 4 * 64);
  share.activations = load16(source.record);
  if (thread() >= kTileRows) share.rest = load8(source.record + kRecordRest - 16);
  if (warp() == 0) share.head = load_head<kLayout>(source.codes - source.to_head);
  return share;
}

// Four codes less the code of zero. 4 bits: 0x78 + code is 0x80 + (code - 8), without a carry to the next byte.
template <Layout kLayout>
GPU_INLINE unsigned signed_codes(unsigned packed, unsigned i) {
  constexpr int kZero = kernels::group_shape(kLayout).zero;
  static_assert(kZero == 0 || kZero == 8 || kZero == 128);
  const unsigned codes = codes_of<kLayout>(packed, i);
  if constexpr (kZero == 8) return (codes + 0x78787878) ^ 0x80808080;
  if constexpr (kZero == 128) return codes ^ 0x80808080;
  return codes;
}

// A thread's places in the step that is multiplied and in the one that is filled meanwhile: steps, moved on by its share. They change places after each step, by one addition each.
struct StepPlaces {
  const unsigned char *outputs, *rows;    // to be read
  unsigned char *new_outputs, *new_rows;  // to be written
  std::ptrdiff_t turn;                    // from the step that is read to the other one
};

constexpr unsigned kSecondRows = sizeof(QuantizedStep::rows) / 2;  // how far the second 64 threads are ahead

template <Layout kLayout>
GPU_INLINE StepPlaces step_places(unsigned char* steps, const TileThread& mine) {
  return {steps + mine.output_quad * sizeof(U4), steps + mine.row_quad * sizeof(U4),
          steps + (warp() * kLineWords<kLayout> * kOutputQuads + lane()) * sizeof(U4),
          steps + thread() / kTileRows * kSecondRows + thread() % kTileRows * 4, sizeof(QuantizedStep)};
}

GPU_INLINE void turn(StepPlaces& places) {
  places.outputs += places.turn;
  places.rows += places.turn;
  places.turn = -places.turn;
  places.new_outputs += places.turn;
  places.new_rows += places.turn;
}

template <Layout kLayout>
GPU_INLINE void store_share(const QuantizedShare<kLayout>& share, const float* row_floats, const StepPlaces& places) {
  constexpr bool kMinima = kernels::group_shape(kLayout).minima;
  constexpr unsigned kWords = kLineWords<kLayout>;
  QuantizedStep& outputs = *reinterpret_cast<QuantizedStep*>(places.new_outputs);
  GPU_UNROLL
  for (unsigned i = 0; i < kGroupLines<kLayout> / 4; i++) {
    const U4& line = share.lines[i];
    GPU_UNROLL
    for (unsigned w = 0; w < kWords; w++)
      outputs.codes[4 * i * kWords + w][0] = {signed_codes<kLayout>(line.x, w), signed_codes<kLayout>(line.y, w),
                                              signed_codes<kLayout>(line.z, w), signed_codes<kLayout>(line.w, w)};
  }
  unsigned char* const row = places.new_rows;
  GPU_UNROLL
  for (unsigned i = 0; i < 4; i++)
    *reinterpret_cast<unsigned*>(row + offsetof(QuantizedStep, rows) + i * kTileRows * 4) = word(share.activations, i);
  if (thread() >= kTileRows) {
    *reinterpret_cast<float*>(row + offsetof(QuantizedStep, x_scales) - kSecondRows) = scale_of(share.rest.x);
    *reinterpret_cast<float*>(row + offsetof(QuantizedStep, x_magics) - kSecondRows) = magic_of(scale_of(share.rest.x));
    if constexpr (kMinima) *reinterpret_cast<unsigned*>(row + offsetof(QuantizedStep, x_sums) - kSecondRows) = share.rest.y;
  }
  if (warp() == 0) {
    const float* mine = row_floats + lane();
    const F4 d{mine[0], mine[kWarp], mine[2 * kWarp], mine[3 * kWarp]};
    const F4 m{mine[4 * kWarp], mine[5 * kWarp], mine[6 * kWarp], mine[7 * kWarp]};
    const QuadScales s = quad_scales<kLayout>(share.head, d, m);
    outputs.scales[0] = {s.scale[0], s.scale[1], s.scale[2], s.scale[3]};
    if constexpr (kMinima) outputs.minima[0] = {s.minimum[0], s.minimum[1], s.minimum[2], s.minimum[3]};
  }
}

// The minima of a step come first, and before the next step is loaded: the registers of the dot products are free then.
template <unsigned kRows>
GPU_INLINE void add_minima(const StepPlaces& places, TileSums& sums) {
  constexpr unsigned kFar = kOutputQuads / 2, kFarRow = kRowQuads / 2;
  const QuantizedStep& outputs = *reinterpret_cast<const QuantizedStep*>(places.outputs);
  const QuantizedStep& activations = *reinterpret_cast<const QuantizedStep*>(places.rows);
  const F4 minima[2] = {outputs.minima[0], outputs.minima[kFar]};
  F4 x_sums[kRows / kQuad];
  GPU_UNROLL
  for (unsigned i = 0; i < kRows / kQuad; i++) x_sums[i] = activations.x_sums[i * kFarRow];
  GPU_UNROLL
  for (unsigned r = 0; r < kSide; r++) {
    GPU_UNROLL
    for (unsigned m = 0; m < kRows; m++)
      sums[r][m] = add_minimum(sums[r][m], word(minima[r / kQuad], r % kQuad), word(x_sums[m / kQuad], m % kQuad));
  }
}

template <unsigned kRows>
GPU_INLINE void add_scaled_dots(const StepPlaces& places, TileSums& sums) {
  constexpr unsigned kFar = kOutputQuads / 2, kFarRow = kRowQuads / 2, kQuads = kRows / kQuad;
  const QuantizedStep& outputs = *reinterpret_cast<const QuantizedStep*>(places.outputs);
  const QuantizedStep& activations = *reinterpret_cast<const QuantizedStep*>(places.rows);
  int dots[kSide][kRows];
  GPU_UNROLL
  for (unsigned w = 0; w < kGroupWords; w++) {
    const U4 codes[2] = {outputs.codes[w][0], outputs.codes[w][kFar]};
    U4 rows[kQuads];
    GPU_UNROLL
    for (unsigned i = 0; i < kQuads; i++) rows[i] = activations.rows[w][i * kFarRow];
    GPU_UNROLL
    for (unsigned r = 0; r < kSide; r++) {
      GPU_UNROLL
      for (unsigned m = 0; m < kRows; m++)
        dots[r][m] = dp4a(static_cast<int>(word(codes[r / kQuad], r % kQuad)), static_cast<int>(word(rows[m / kQuad], m % kQuad)),
                          w == 0 ? kMagic : dots[r][m]);
    }
  }
  const F4 scales[2] = {outputs.scales[0], outputs.scales[kFar]};
  F4 x_scales[kQuads], x_magics[kQuads];
  GPU_UNROLL
  for (unsigned i = 0; i < kQuads; i++) x_scales[i] = activations.x_scales[i * kFarRow], x_magics[i] = activations.x_magics[i * kFarRow];
  GPU_UNROLL
  for (unsigned m = 0; m < kRows; m++) {
    const float x_scale = word(x_scales[m / kQuad], m % kQuad), x_magic = word(x_magics[m / kQuad], m % kQuad);
    GPU_UNROLL
    for (unsigned r = 0; r < kSide; r++)
      sums[r][m] = add_scaled(sums[r][m], dots[r][m], word(scales[r / kQuad], r % kQuad), x_scale, x_magic);
  }
}

template <Layout kLayout>
GPU_INLINE void quantized_tile(const kernels::ProductLaunch& a) {
  GPU_SHARED(QuantizedStep, steps, 2);
  GPU_SHARED(float, row_floats, 2 * kQuad * kWarp);  // D and M, each lane of warp 0 its own: they would take registers
  StepPlaces places = step_places<kLayout>(reinterpret_cast<unsigned char*>(steps), tile_thread());
  const unsigned groups = groups_of(a.k), partials = min(groups, kProductPartials);
  const bool whole = has_both_halves(a);
  if (warp() == 0) {
    const unsigned char* strip = strip_of<kLayout>(a, tile_block(a));
    const F4 d = quad_d<kLayout>(strip, lane() % kStripQuads), m = quad_m<kLayout>(strip, lane() % kStripQuads);
    GPU_UNROLL
    for (unsigned r = 0; r < kQuad; r++) {
      row_floats[r * kWarp + lane()] = word(d, r);
      row_floats[(kQuad + r) * kWarp + lane()] = word(m, r);
    }
  }
  QuantizedSource source = first_source<kLayout>(a, tile_block(a));
  store_share<kLayout>(load_share<kLayout>(source), row_floats, places);
  sync_block();
  places.new_outputs += places.turn;
  places.new_rows += places.turn;
  TileSums totals = {}, sums = {};
  for (unsigned g = 0, partial = 0; partial < partials;) {
    if constexpr (kernels::group_shape(kLayout).minima) {
      if (whole)
        add_minima<kSide>(places, sums);
      else
        add_minima<kQuad>(places, sums);
    }
    g += kProductPartials;
    const bool closes = g >= groups;
    if (!closes)
      advance<kLayout>(source, static_cast<unsigned>(a.rows));
    else if (partial + 1 < partials)  // at the very end the last step is loaded again, and not used
      advance_partial<kLayout>(source, partial, groups, static_cast<unsigned>(a.rows));
    const QuantizedShare<kLayout> share = load_share<kLayout>(source);
    if (whole)
      add_scaled_dots<kSide>(places, sums);
    else
      add_scaled_dots<kQuad>(places, sums);
    if (closes) {
      close_partial(totals, sums);
      g = ++partial;
    }
    store_share<kLayout>(share, row_floats, places);
    turn(places);
    sync_block();
  }
  write_tile(a, totals);
}

}  // namespace leafcutter::gpu
