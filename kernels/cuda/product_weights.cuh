// What the product kernels read: quads (4 outputs side by side) of groups (32 k) of strips, docs/weight-layouts.md, and the arithmetic of a group that all of them share.
//
// A sum of codes times int8 activations starts at kMagic, the bits of the float 1.5 x 2^23: as a float it is then kMagicFloat + sum, exactly, since |sum| <= 32 x 127 x 128 < 2^22. So a conversion costs
// nothing: one fma takes kMagicFloat x (scale of the activations) away again and scales the sum. For that product to be exact the scale is rounded to 22 bits (relative error 2^-23 on the average).
#pragma once

#include "kernels/activation_group.h"
#include "kernels/cuda/port.h"
#include "kernels/cuda/product_shape.h"
#include "kernels/strip_shape.h"

namespace leafcutter::gpu {

using kernels::GroupScale;
using kernels::GroupShape;
using kernels::kStripRows;
using kernels::Layout;

constexpr unsigned kGroup = 32;      // k
constexpr unsigned kGroupWords = 8;  // of 4 activations
constexpr unsigned kQuad = 4;        // outputs
constexpr unsigned kStripQuads = kStripRows / kQuad;
constexpr unsigned kRecord = sizeof(kernels::ActivationGroup);
constexpr unsigned kRecordRest = 32;  // where scale, sum and offset of a record begin
static_assert(kernels::kGroupWidth == kGroup && kernels::kActivationGroup == kGroup && kernels::kGroupsPerBlock == 4 && kStripQuads == 4);

constexpr int kMagic = 0x4b400000;
constexpr float kMagicFloat = 12582912.0f;

GPU_INLINE unsigned groups_of(std::uint64_t k) { return static_cast<unsigned>((k + kGroup - 1) / kGroup); }

GPU_INLINE unsigned word(const U4& v, unsigned i) { return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w; }
GPU_INLINE float word(const F4& v, unsigned i) { return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w; }
GPU_INLINE float byte_of(unsigned word, unsigned i) { return static_cast<float>(word >> 8 * i & 255); }
GPU_INLINE std::uint16_t half_of(const U2& v, unsigned i) { return static_cast<std::uint16_t>((i < 2 ? v.x : v.y) >> 16 * (i % 2)); }
GPU_INLINE F4 floats_of(const U4& v) { return {float_of(v.x), float_of(v.y), float_of(v.z), float_of(v.w)}; }

// ---- quantized strips

constexpr std::uint64_t strip_bytes_of(const GroupShape& shape, unsigned groups) {
  return shape.front + (groups + 3) / 4 * shape.block_head() + std::uint64_t{groups} * shape.group_codes;
}

// A line of 64 bytes holds this many words of 4 codes of an output.
template <Layout kLayout>
constexpr unsigned kLineWords = kernels::group_shape(kLayout).bits == 4 ? 2 : 1;
template <Layout kLayout>
constexpr unsigned kGroupLines = kGroupWords / kLineWords<kLayout>;

template <Layout kLayout>
GPU_INLINE const unsigned char* block_of(const unsigned char* strip, unsigned group) {
  constexpr GroupShape kShape = kernels::group_shape(kLayout);
  return strip + kShape.front + std::uint64_t{group / 4} * kShape.block_bytes();
}

// Where the codes of 4 outputs begin; lines are 64 bytes apart. 16 bytes of a line: of each output 4 codes side by side (4 bits: those of k = 8 line .. + 3 in the low nibbles, of the next 4 k in the high ones).
template <Layout kLayout>
GPU_INLINE const unsigned char* codes_at(const unsigned char* strip, unsigned group, unsigned quad) {
  constexpr GroupShape kShape = kernels::group_shape(kLayout);
  return block_of<kLayout>(strip, group) + kShape.block_head() + group % 4 * kShape.group_codes + quad * 16;
}

// Word `i` of a line as 4 bytes, one for each code.
template <Layout kLayout>
GPU_INLINE unsigned codes_of(unsigned packed, unsigned i) {
  if constexpr (kLineWords<kLayout> == 1) return packed;
  return (i == 0 ? packed : packed >> 4) & 0x0f0f0f0f;
}

// Scales and minima of 4 outputs as they lie in the head of a group: 4 bytes (in x) or 4 halves of each.
struct QuadHead {
  U2 scales, minima;
};

template <Layout kLayout>
GPU_INLINE const unsigned char* head_of(const unsigned char* strip, unsigned group) {
  return block_of<kLayout>(strip, group) + group % 4 * kernels::group_shape(kLayout).group_head;
}

// Bytes of a quad's scales.
template <Layout kLayout>
constexpr unsigned kHeadQuad = kernels::group_shape(kLayout).scale == GroupScale::half ? 2 * kQuad : kQuad;

// head: of the group, at the quad's scales.
template <Layout kLayout>
GPU_INLINE QuadHead load_head(const unsigned char* head) {
  constexpr GroupShape kShape = kernels::group_shape(kLayout);
  QuadHead raw{};
  if constexpr (kShape.scale == GroupScale::u8) {
    raw.scales.x = load4(head);
    if constexpr (kShape.minima) raw.minima.x = load4(head + kStripRows);
  } else if constexpr (kShape.scale == GroupScale::half) {
    raw.scales = load8(head);
    if constexpr (kShape.minima) raw.minima = load8(head + 2 * kStripRows);
  }
  return raw;
}

// The weight of a code in this group: scale x (code - zero) + minimum.
struct QuadScales {
  float scale[kQuad], minimum[kQuad];
};

template <Layout kLayout>
GPU_INLINE QuadScales quad_scales(const QuadHead& raw, const F4& d, const F4& m) {
  constexpr GroupShape kShape = kernels::group_shape(kLayout);
  QuadScales q{};
  GPU_UNROLL
  for (unsigned r = 0; r < kQuad; r++) {
    if constexpr (kShape.scale == GroupScale::u8) {
      q.scale[r] = word(d, r) * byte_of(raw.scales.x, r);
      if constexpr (kShape.minima) q.minimum[r] = word(m, r) * byte_of(raw.minima.x, r);
    } else if constexpr (kShape.scale == GroupScale::half) {
      q.scale[r] = half_to_float(half_of(raw.scales, r));
      if constexpr (kShape.minima) q.minimum[r] = half_to_float(half_of(raw.minima, r));
    } else {
      q.scale[r] = word(d, r);
    }
  }
  return q;
}

// The floats D and -M of 4 outputs, 0 where the layout has none.
template <Layout kLayout>
GPU_INLINE F4 quad_d(const unsigned char* strip, unsigned quad) {
  if constexpr (kernels::group_shape(kLayout).row_floats) return floats_of(load16(strip + 16 * quad));
  return {};
}
template <Layout kLayout>
GPU_INLINE F4 quad_m(const unsigned char* strip, unsigned quad) {
  if constexpr (kernels::group_shape(kLayout).row_floats && kernels::group_shape(kLayout).minima) {
    const F4 m = floats_of(load16(strip + 64 + 16 * quad));
    return {-m.x, -m.y, -m.z, -m.w};
  }
  return {};
}

// ---- activations of a row in a group

struct GroupActivations {
  float scale;  // of 22 bits
  float magic;  // -kMagicFloat x scale, exactly
  float sum;
  int start;  // of the sums of codes: kMagic, less the code of zero times the activations
};

GPU_INLINE float scale_of(unsigned bits) { return float_of((bits + 2) & ~3u); }
GPU_INLINE float magic_of(float x_scale) { return -kMagicFloat * x_scale; }

// rest: the 16 bytes of a record behind the activations.
template <Layout kLayout>
GPU_INLINE GroupActivations group_activations(const U4& rest) {
  constexpr int kZero = kernels::group_shape(kLayout).zero;
  static_assert(kZero == 0 || kZero == 8 || kZero == 128);
  GroupActivations x{};
  x.scale = scale_of(rest.x);
  x.magic = magic_of(x.scale);
  x.sum = float_of(rest.y);
  x.start = kMagic;
  if constexpr (kZero != 0) x.start += static_cast<int>(rest.z) / (128 / kZero);
  return x;
}

// sum + the weights of an output in this group times the activations, in this order: minima where there are, then scale x (code - zero). dot: start + codes times activations.
GPU_INLINE float add_minimum(float sum, float minimum, float x_sum) { return fma(minimum, x_sum, sum); }
GPU_INLINE float add_scaled(float sum, int dot, float scale, float x_scale, float x_magic) {
  return fma(fma(float_of(static_cast<unsigned>(dot)), x_scale, x_magic), scale, sum);
}

// ---- float strips

// 4 outputs at one k.
template <Layout kLayout>
GPU_INLINE F4 load_floats(const unsigned char* strip, std::uint64_t k, unsigned quad) {
  constexpr unsigned kBytes = kernels::float_bytes(kLayout);
  const unsigned char* place = strip + k * kStripRows * kBytes + quad * kQuad * kBytes;
  if constexpr (kLayout == Layout::f32) {
    return floats_of(load16(place));
  } else {
    const U2 v = load8(place);
    if constexpr (kLayout == Layout::bf16)
      return {bf16_to_float(half_of(v, 0)), bf16_to_float(half_of(v, 1)), bf16_to_float(half_of(v, 2)), bf16_to_float(half_of(v, 3))};
    return {half_to_float(half_of(v, 0)), half_to_float(half_of(v, 1)), half_to_float(half_of(v, 2)), half_to_float(half_of(v, 3))};
  }
}

template <Layout kLayout>
constexpr std::uint64_t float_strip_bytes(std::uint64_t k) {
  return (k * kStripRows * kernels::float_bytes(kLayout) + 63) / 64 * 64;
}

// ---- the end of all kinds

GPU_INLINE float finished(const kernels::ProductLaunch& a, float total, float bias) { return fma(a.factor, total, bias); }

GPU_INLINE void write_output(const kernels::ProductLaunch& a, std::uint64_t row, std::uint64_t output, float total) {
  if (row >= a.rows || output >= a.outputs) return;
  const float bias = a.bias.value != 0 ? at<const float>(a.bias)[output] : 0;
  at<float>(a.y)[row * a.y_stride + output] = finished(a, total, bias);
}

}  // namespace leafcutter::gpu
