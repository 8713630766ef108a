// The quantizers, written once over 16 lanes (a lane is a row of the strip) and compiled for each instruction set. No operation depends on the width of registers, so that all give the same bytes.
//
// q8 and q8row: symmetric, the largest value of a group (row) becomes +-127. q4: scale and minimum of each group of 32 by a search: the range is narrowed or widened in steps around its middle, each
// try refitted by least squares for its codes; then scales and minima are rounded to u8 under the row's D and M, with the neighbours of the rounded scale tried too.
// Measured: tests/quant/q4_error_test.cpp.
//
// Rows are quantized at a power of two near 1, so that squares of large and small weights neither overflow nor vanish; a row that is so small that
// its factors would be no normal floats is stored as zeros.
#pragma once

#include <algorithm>
#include <cfloat>
#include <cstdint>
#include <cstring>
#include <vector>

#include "kernels/strip_shape.h"

namespace leafcutter::quant {
namespace {

using kernels::kGroupsPerBlock;
using kernels::kGroupWidth;
using kernels::kStripRows;

typedef float Floats __attribute__((vector_size(64)));
typedef std::int32_t Ints __attribute__((vector_size(64)));

inline Floats splat(float v) { return Floats{} + v; }
inline Floats larger(Floats a, Floats b) { return a > b ? a : b; }
inline Floats smaller(Floats a, Floats b) { return a < b ? a : b; }
inline Floats magnitude(Floats a) { return a < 0 ? -a : a; }
// To the nearest whole number, ties to even, for |v| < 2^22. NaN stays NaN.
inline Floats rounded(Floats v) {
  const Floats magic = splat(12582912.0f);
  return (v + magic) - magic;
}
inline Floats clipped(Floats v, float low, float high) {
  v = v > low ? v : splat(low);  // NaN goes to low
  return v < high ? v : splat(high);
}
inline Floats reciprocal_or_zero(Floats v) { return v > 0 ? 1 / (v > 0 ? v : splat(1)) : splat(0); }
inline Ints whole(Floats v) { return __builtin_convertvector(v, Ints); }

// The row's factors times its codes must be normal numbers: 255 and 127 are the largest scale and code.
constexpr float kSmallestTop = 255.0f * 127.0f * FLT_MIN;

// The strip turned: x[i] holds k = i of the 16 rows, each divided by its unit, a power of two; padded with zeros to whole groups.
class TurnedStrip {
 public:
  TurnedStrip(const float* rows, std::size_t k) : groups_((k + kGroupWidth - 1) / kGroupWidth), values_(groups_ * kGroupWidth) {
    Floats top = splat(0);
    for (std::size_t r = 0; r < kStripRows; r++)
      for (std::size_t i = 0; i < k; i++) values_[i][r] = rows[r * k + i];
    for (const Floats& v : values_) top = larger(top, magnitude(v));
    // The exponent of the largest value; 2^126 at most, so that the inverse is a normal number too.
    constexpr int kExponent = 0x7f800000, kMost = 253 << 23;
    Ints bits;
    std::memcpy(&bits, &top, sizeof bits);
    bits &= kExponent;
    bits = bits > kMost ? kMost - Ints{} : bits;
    const Ints inverse_bits = (254 << 23) - bits;
    Floats inverse;
    std::memcpy(&unit_, &bits, sizeof bits);
    std::memcpy(&inverse, &inverse_bits, sizeof bits);
    inverse = top >= kSmallestTop ? inverse : splat(0);
    for (Floats& v : values_) v *= inverse;
  }
  std::size_t groups() const { return groups_; }
  const Floats* group(std::size_t g) const { return values_.data() + g * kGroupWidth; }
  Floats unit() const { return unit_; }

 private:
  std::size_t groups_;
  std::vector<Floats> values_;
  Floats unit_;
};

inline void put_floats(std::byte* to, Floats v) { std::memcpy(to, &v, sizeof v); }
inline void put_bytes(std::byte* to, Floats v) {
  const Ints codes = whole(v);
  for (std::size_t r = 0; r < kStripRows; r++) to[r] = static_cast<std::byte>(codes[r]);
}

// Where group g's head and codes lie in a strip.
struct GroupPlace {
  std::byte* head;
  std::byte* codes;
  GroupPlace(std::byte* strip, const kernels::GroupShape& shape, std::size_t g) {
    std::byte* block = strip + shape.front + g / kGroupsPerBlock * shape.block_bytes();
    head = block + g % kGroupsPerBlock * shape.group_head;
    codes = block + shape.block_head() + g % kGroupsPerBlock * shape.group_codes;
  }
};

// One line: word r = codes c0..c3 of row r.
inline void put_line(std::byte* line, Ints c0, Ints c1, Ints c2, Ints c3) {
  const Ints words = c0 | c1 << 8 | c2 << 16 | c3 << 24;
  std::memcpy(line, &words, sizeof words);
}

inline void put_codes8(std::byte* codes, const Floats* x, Floats inverse) {
  Ints c[kGroupWidth];
  for (std::size_t i = 0; i < kGroupWidth; i++) c[i] = whole(clipped(rounded(clipped(x[i] * inverse, -127, 127)), -127, 127)) + 128;
  for (std::size_t w = 0; w < kGroupWidth / 4; w++) put_line(codes + w * 64, c[4 * w], c[4 * w + 1], c[4 * w + 2], c[4 * w + 3]);
}

void quantize_q8(const float* rows, std::size_t k, std::byte* out) {
  constexpr kernels::GroupShape kShape = kernels::group_shape(kernels::Layout::q8);
  std::memset(out, 0, kernels::strip_bytes(kernels::Layout::q8, k));
  const TurnedStrip strip(rows, k);
  std::vector<Floats> scales(strip.groups());
  Floats largest = splat(0);
  for (std::size_t g = 0; g < strip.groups(); g++) {
    Floats top = splat(0);
    for (std::size_t i = 0; i < kGroupWidth; i++) top = larger(top, magnitude(strip.group(g)[i]));
    scales[g] = top / 127;
    largest = larger(largest, scales[g]);
  }
  const Floats d = largest / 255, inverse_d = reciprocal_or_zero(d);
  put_floats(out, d * strip.unit());
  for (std::size_t g = 0; g < strip.groups(); g++) {
    const GroupPlace place(out, kShape, g);
    // Rounded up: nothing is cut off at 127. Half a unit more than rounding to nearest, less a hair for exact multiples.
    const Floats code = clipped(rounded(clipped(scales[g] * inverse_d + 0.4999f, 0, 255)), 0, 255);
    put_bytes(place.head, code);
    put_codes8(place.codes, strip.group(g), reciprocal_or_zero(code * d));
  }
}

void quantize_q8row(const float* rows, std::size_t k, std::byte* out) {
  constexpr kernels::GroupShape kShape = kernels::group_shape(kernels::Layout::q8row);
  std::memset(out, 0, kernels::strip_bytes(kernels::Layout::q8row, k));
  const TurnedStrip strip(rows, k);
  Floats top = splat(0);
  for (std::size_t i = 0; i < strip.groups() * kGroupWidth; i++) top = larger(top, magnitude(strip.group(0)[i]));
  const Floats d = top / 127;
  put_floats(out, d * strip.unit());
  for (std::size_t g = 0; g < strip.groups(); g++) put_codes8(GroupPlace(out, kShape, g).codes, strip.group(g), reciprocal_or_zero(d));
}

// weight = scale * code - minimum, both >= 0.
struct ScaleAndMinimum {
  Floats scale, minimum;
};

inline Floats code4(Floats x, Floats minimum, Floats inverse) { return clipped(rounded(clipped((x + minimum) * inverse, 0, 15)), 0, 15); }

inline Floats error_of(const Floats* x, ScaleAndMinimum s) {
  const Floats inverse = reciprocal_or_zero(s.scale);
  Floats error = splat(0);
  for (std::size_t i = 0; i < kGroupWidth; i++) {
    const Floats difference = s.scale * code4(x[i], s.minimum, inverse) - s.minimum - x[i];
    error += difference * difference;
  }
  return error;
}

ScaleAndMinimum search_group(const Floats* x) {
  constexpr float kSteps[] = {-2.0f, -1.5f, -1.0f, -0.6f, -0.3f, 0.0f, 0.3f, 0.6f, 1.0f, 1.4f, 1.8f, 2.3f, 2.8f, 3.4f, 4.0f, 5.0f};
  constexpr float kCount = kGroupWidth;
  Floats low = x[0], high = x[0], sum = splat(0);
  for (std::size_t i = 0; i < kGroupWidth; i++) {
    low = smaller(low, x[i]);
    high = larger(high, x[i]);
    sum += x[i];
  }
  const Floats middle = (low + high) * 0.5f;
  ScaleAndMinimum best{splat(0), splat(0)};
  Floats least = splat(3e38f);
  for (const float step : kSteps) {
    const Floats inverse = reciprocal_or_zero((high - low) / (15 + step));
    Floats q1 = splat(0), q2 = splat(0), qx = splat(0);
    for (std::size_t i = 0; i < kGroupWidth; i++) {
      const Floats q = clipped(rounded(clipped((x[i] - middle) * inverse + 7.5f, 0, 15)), 0, 15);
      q1 += q;
      q2 += q * q;
      qx += q * x[i];
    }
    // Least squares for these codes; without a minimum where that would be negative.
    const Floats determinant = kCount * q2 - q1 * q1;
    const Floats free_scale = determinant > 0 ? (kCount * qx - q1 * sum) / (determinant > 0 ? determinant : splat(1)) : splat(0);
    const Floats free_minimum = (free_scale * q1 - sum) / kCount;
    const Floats bound_scale = qx * reciprocal_or_zero(q2);
    const Ints bound = free_minimum < 0;
    ScaleAndMinimum s;
    s.scale = larger(bound ? bound_scale : free_scale, splat(0));
    s.minimum = bound ? splat(0) : free_minimum;
    const Floats error = error_of(x, s);
    const Ints better = error < least;
    best.scale = better ? s.scale : best.scale;
    best.minimum = better ? s.minimum : best.minimum;
    least = better ? error : least;
  }
  return best;
}

void quantize_q4(const float* rows, std::size_t k, std::byte* out) {
  constexpr kernels::GroupShape kShape = kernels::group_shape(kernels::Layout::q4);
  std::memset(out, 0, kernels::strip_bytes(kernels::Layout::q4, k));
  const TurnedStrip strip(rows, k);
  std::vector<ScaleAndMinimum> found(strip.groups());
  ScaleAndMinimum largest{splat(0), splat(0)};
  for (std::size_t g = 0; g < strip.groups(); g++) {
    found[g] = search_group(strip.group(g));
    largest.scale = larger(largest.scale, found[g].scale);
    largest.minimum = larger(largest.minimum, found[g].minimum);
  }
  const Floats d = largest.scale / 255, m = largest.minimum / 255;
  const Floats inverse_d = reciprocal_or_zero(d), inverse_m = reciprocal_or_zero(m);
  put_floats(out, d * strip.unit());
  put_floats(out + 64, m * strip.unit());
  for (std::size_t g = 0; g < strip.groups(); g++) {
    const Floats* x = strip.group(g);
    const Floats nearest = clipped(rounded(clipped(found[g].scale * inverse_d, 0, 255)), 0, 255);
    Floats scale_code = nearest, minimum_code = splat(0), least = splat(3e38f);
    for (const float neighbour : {0.0f, -1.0f, 1.0f}) {
      const Floats tried = clipped(nearest + neighbour, 0, 255), scale = tried * d, inverse = reciprocal_or_zero(scale);
      // The best minimum for the codes that this scale gives.
      Floats q1 = splat(0), sum = splat(0);
      for (std::size_t i = 0; i < kGroupWidth; i++) {
        q1 += code4(x[i], found[g].minimum, inverse);
        sum += x[i];
      }
      for (const Floats wish : {found[g].minimum, (scale * q1 - sum) / static_cast<float>(kGroupWidth)}) {
        const Floats code = clipped(rounded(clipped(wish * inverse_m, 0, 255)), 0, 255);
        const Floats error = error_of(x, {scale, code * m});
        const Ints better = error < least;
        scale_code = better ? tried : scale_code;
        minimum_code = better ? code : minimum_code;
        least = better ? error : least;
      }
    }
    const GroupPlace place(out, kShape, g);
    put_bytes(place.head, scale_code);
    put_bytes(place.head + kStripRows, minimum_code);
    const Floats inverse = reciprocal_or_zero(scale_code * d), minimum = minimum_code * m;
    for (std::size_t w = 0; w < kGroupWidth / 8; w++) {
      Ints c[4];
      for (std::size_t i = 0; i < 4; i++)
        c[i] = whole(code4(x[8 * w + i], minimum, inverse)) | whole(code4(x[8 * w + 4 + i], minimum, inverse)) << 4;
      put_line(place.codes + w * 64, c[0], c[1], c[2], c[3]);
    }
  }
}

}  // namespace
}  // namespace leafcutter::quant
