#include "quant/format.h"

#include <bit>
#include <cassert>

#include "quant/encoders.h"

namespace leafcutter::quant {
namespace {

using kernels::Layout;

// In order of FormatId.
constexpr Format kFormats[] = {
    {FormatId::f32, "f32", Layout::f32, 32, true, encode_f32},         {FormatId::f16, "f16", Layout::f16, 16, true, encode_f16},
    {FormatId::bf16, "bf16", Layout::bf16, 16, true, encode_bf16},     {FormatId::q8, "q8", Layout::q8, 8.25, false, encode_q8},
    {FormatId::q8row, "q8row", Layout::q8row, 8, false, encode_q8row}, {FormatId::q4, "q4", Layout::q4, 4.5, false, encode_q4},
    {FormatId::q8_0, "q8_0", Layout::q8_0, 8.5, false, nullptr},       {FormatId::q4_0, "q4_0", Layout::q4_0, 4.5, false, nullptr},
    {FormatId::q4_1, "q4_1", Layout::q4_1, 5, false, nullptr},
};

}  // namespace

std::span<const Format> formats() { return kFormats; }

const Format* find_format(FormatId id) {
  const auto i = static_cast<std::size_t>(id);
  return i < std::size(kFormats) ? &kFormats[i] : nullptr;
}

const Format* find_format(const std::string& name) {
  for (const Format& format : kFormats)
    if (name == format.name) return &format;
  return nullptr;
}

const Format& format_of(FormatId id) {
  const Format* format = find_format(id);
  assert(format);
  return *format;
}

std::size_t first_non_finite(std::span<const float> values) {
  constexpr std::uint32_t kExponent = 0x7f800000;
  constexpr std::size_t kBlock = 256;  // a look without a branch for each value; only a block that holds one is searched
  std::size_t i = 0;
  for (; i + kBlock <= values.size(); i += kBlock) {
    std::uint32_t found = 0;
    for (std::size_t j = 0; j < kBlock; j++) found |= (std::bit_cast<std::uint32_t>(values[i + j]) & kExponent) == kExponent;
    if (found) break;
  }
  for (; i < values.size(); i++)
    if ((std::bit_cast<std::uint32_t>(values[i]) & kExponent) == kExponent) return i;
  return values.size();
}

}  // namespace leafcutter::quant
