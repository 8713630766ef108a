// One encoder per format; see format.h for the contract of EncodeStrip. The quantizers choose the instruction set at their first call; all give the same bytes.
#pragma once

#include <cstddef>

namespace leafcutter::quant {

void encode_f32(const float* rows, std::size_t k, std::byte* out);
void encode_f16(const float* rows, std::size_t k, std::byte* out);
void encode_bf16(const float* rows, std::size_t k, std::byte* out);
void encode_q8(const float* rows, std::size_t k, std::byte* out);
void encode_q8row(const float* rows, std::size_t k, std::byte* out);
void encode_q4(const float* rows, std::size_t k, std::byte* out);

}  // namespace leafcutter::quant
