#include "quant/ggml_blocks.h"

#include <cassert>
#include <cstring>

#include "base/half.h"
#include "kernels/strip_shape.h"

namespace leafcutter::quant {
namespace {

using kernels::kStripRows;

constexpr std::size_t kBlock = 32;

constexpr FormatId kF32 = FormatId::f32, kF16 = FormatId::f16, kBf16 = FormatId::bf16, kQ80 = FormatId::q8_0, kQ40 = FormatId::q4_0,
                   kQ41 = FormatId::q4_1;

// In order of SourceType.
constexpr SourceTypeInfo kTypes[] = {
    {SourceType::f32, "F32", 1, 4, &kF32},     {SourceType::f16, "F16", 1, 2, &kF16},         {SourceType::bf16, "BF16", 1, 2, &kBf16},
    {SourceType::f64, "F64", 1, 8, nullptr},   {SourceType::q8_0, "Q8_0", 32, 34, &kQ80},     {SourceType::q4_0, "Q4_0", 32, 18, &kQ40},
    {SourceType::q4_1, "Q4_1", 32, 20, &kQ41}, {SourceType::q6_k, "Q6_K", 256, 210, nullptr},
};

template <class T>
T load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

std::uint16_t half_at(const std::byte* at) { return load<std::uint16_t>(at); }
int low_nibble(std::byte b) { return static_cast<int>(b & std::byte{15}); }
int high_nibble(std::byte b) { return static_cast<int>(b >> 4); }

// Code of value j of a Q4 block whose codes begin at qs: byte j % 16, the low nibble first.
int q4_code(const std::byte* qs, std::size_t j) { return j < 16 ? low_nibble(qs[j]) : high_nibble(qs[j - 16]); }

void decode_q6_k(const std::byte* block, float* out) {
  const std::byte *ql = block, *qh = block + 128;
  const auto* scales = reinterpret_cast<const std::int8_t*>(block + 192);
  const float d = float_from_half(half_at(block + 208));
  for (int half = 0; half < 2; half++, ql += 64, qh += 32, scales += 8, out += 128)
    for (std::size_t l = 0; l < 32; l++) {
      const int high = std::to_integer<int>(qh[l]);
      const int codes[4] = {low_nibble(ql[l]) | (high & 3) << 4, low_nibble(ql[l + 32]) | (high >> 2 & 3) << 4,
                            high_nibble(ql[l]) | (high >> 4 & 3) << 4, high_nibble(ql[l + 32]) | (high >> 6 & 3) << 4};
      const std::size_t half_of_part = l / 16;
      for (std::size_t part = 0; part < 4; part++)
        out[32 * part + l] = d * static_cast<float>(scales[half_of_part + 2 * part]) * static_cast<float>(codes[part] - 32);
    }
}

}  // namespace

const SourceTypeInfo& source_type_info(SourceType type) { return kTypes[static_cast<std::size_t>(type)]; }

std::uint64_t source_row_bytes(SourceType type, std::uint64_t k) {
  const SourceTypeInfo& info = source_type_info(type);
  return k / info.block_values * info.block_bytes;
}

void decode_source_row(SourceType type, std::span<const std::byte> bytes, std::size_t k, float* out) {
  assert(bytes.size() == source_row_bytes(type, k));
  const std::byte* at = bytes.data();
  switch (type) {
    case SourceType::f32:
      std::memcpy(out, at, k * sizeof(float));
      return;
    case SourceType::f16:
      for (std::size_t i = 0; i < k; i++) out[i] = float_from_half(half_at(at + 2 * i));
      return;
    case SourceType::bf16:
      for (std::size_t i = 0; i < k; i++) out[i] = float_from_bf16(half_at(at + 2 * i));
      return;
    case SourceType::f64:
      for (std::size_t i = 0; i < k; i++) out[i] = static_cast<float>(load<double>(at + 8 * i));
      return;
    case SourceType::q8_0:
      for (std::size_t b = 0; b < k / kBlock; b++, at += 34) {
        const float d = float_from_half(half_at(at));
        for (std::size_t j = 0; j < kBlock; j++) out[b * kBlock + j] = d * static_cast<float>(static_cast<std::int8_t>(at[2 + j]));
      }
      return;
    case SourceType::q4_0:
      for (std::size_t b = 0; b < k / kBlock; b++, at += 18) {
        const float d = float_from_half(half_at(at));
        for (std::size_t j = 0; j < kBlock; j++) out[b * kBlock + j] = d * static_cast<float>(q4_code(at + 2, j) - 8);
      }
      return;
    case SourceType::q4_1:
      for (std::size_t b = 0; b < k / kBlock; b++, at += 20) {
        const float d = float_from_half(half_at(at)), m = float_from_half(half_at(at + 2));
        for (std::size_t j = 0; j < kBlock; j++) out[b * kBlock + j] = d * static_cast<float>(q4_code(at + 4, j)) + m;
      }
      return;
    case SourceType::q6_k:
      for (std::size_t b = 0; b < k / 256; b++, at += 210) decode_q6_k(at, out + b * 256);
      return;
  }
}

void transcode_strip(SourceType type, std::span<const std::span<const std::byte>, 16> rows, std::size_t k, std::byte* out) {
  const SourceTypeInfo& info = source_type_info(type);
  assert(info.exact);
  const Format& format = format_of(*info.exact);
  std::memset(out, 0, kernels::strip_bytes(format.layout, k));
  if (format.lossless_float) {
    const std::size_t bytes = info.block_bytes;
    for (std::size_t r = 0; r < kStripRows; r++)
      for (std::size_t i = 0; i < k && !rows[r].empty(); i++)
        std::memcpy(out + (i * kStripRows + r) * bytes, rows[r].data() + i * bytes, bytes);
    return;
  }
  const kernels::GroupShape shape = kernels::group_shape(format.layout);
  for (std::size_t g = 0; g < k / kBlock; g++) {
    std::byte* block = out + shape.front + g / kernels::kGroupsPerBlock * shape.block_bytes();
    std::byte* head = block + g % kernels::kGroupsPerBlock * shape.group_head;
    std::byte* codes = block + shape.block_head() + g % kernels::kGroupsPerBlock * shape.group_codes;
    for (std::size_t r = 0; r < kStripRows; r++) {
      if (rows[r].empty()) {  // scale 0; the code of zero all the same
        for (std::size_t w = 0; w < shape.group_codes / 64; w++)
          std::memset(codes + 64 * w + 4 * r, shape.bits == 8 ? shape.zero : shape.zero * 0x11, 4);
        continue;
      }
      const std::byte* from = rows[r].data() + g * info.block_bytes;
      std::memcpy(head + 2 * r, from, 2);
      if (shape.minima) std::memcpy(head + 32 + 2 * r, from + 2, 2);
      const std::byte* quants = from + (shape.minima ? 4 : 2);
      for (std::size_t j = 0; j < kBlock; j++) {
        if (shape.bits == 8) {
          codes[64 * (j / 4) + 4 * r + j % 4] = static_cast<std::byte>(static_cast<int>(static_cast<std::int8_t>(quants[j])) + 128);
        } else {
          std::byte& pair = codes[64 * (j / 8) + 4 * r + j % 4];
          pair |= static_cast<std::byte>(q4_code(quants, j) << (j % 8 < 4 ? 0 : 4));
        }
      }
    }
  }
}

}  // namespace leafcutter::quant
