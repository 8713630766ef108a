#include <cstdint>
#include <cstring>

#include "base/half.h"
#include "kernels/strip_layout.h"
#include "quant/encoders.h"

namespace leafcutter::quant {
namespace {

using kernels::kStripRows;

template <class Value, class Convert>
void encode_lines(const float* rows, std::size_t k, kernels::Layout layout, std::byte* out, Convert&& convert) {
  for (std::size_t i = 0; i < k; i++) {
    Value line[kStripRows];
    for (std::size_t r = 0; r < kStripRows; r++) line[r] = convert(rows[r * k + i]);
    std::memcpy(out + i * sizeof line, line, sizeof line);
  }
  const std::size_t used = k * kStripRows * sizeof(Value);
  std::memset(out + used, 0, kernels::strip_bytes(layout, k) - used);
}

}  // namespace

void encode_f32(const float* rows, std::size_t k, std::byte* out) {
  encode_lines<float>(rows, k, kernels::Layout::f32, out, [](float v) { return v; });
}

void encode_f16(const float* rows, std::size_t k, std::byte* out) {
  encode_lines<std::uint16_t>(rows, k, kernels::Layout::f16, out, half_from_float);
}

void encode_bf16(const float* rows, std::size_t k, std::byte* out) {
  encode_lines<std::uint16_t>(rows, k, kernels::Layout::bf16, out, bf16_from_float);
}

}  // namespace leafcutter::quant
