// ggml's blocks against their formulas: a block is decoded here value by value, from the description of ggml-common.h.
#include "quant/ggml_blocks.h"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "base/half.h"
#include "kernels/matmul.h"

using namespace leafcutter;
using namespace leafcutter::quant;

namespace {

int byte_at(const std::byte* at) { return std::to_integer<int>(*at); }
int signed_at(const std::byte* at) { return static_cast<std::int8_t>(byte_at(at)); }
double half_at(const std::byte* at) { return float_from_half(static_cast<std::uint16_t>(byte_at(at) | byte_at(at + 1) << 8)); }
int nibble(const std::byte* at, bool high) { return high ? byte_at(at) >> 4 : byte_at(at) & 15; }

// Value i of the row, in double; products of a half and small whole numbers are exact.
double value_of(SourceType type, const std::byte* row, std::size_t i) {
  const std::size_t j = i % 32;
  switch (type) {
    case SourceType::f32: {
      float v;
      std::memcpy(&v, row + 4 * i, sizeof v);
      return v;
    }
    case SourceType::f64: {
      double v;
      std::memcpy(&v, row + 8 * i, sizeof v);
      return v;
    }
    case SourceType::f16:
      return half_at(row + 2 * i);
    case SourceType::bf16:
      return std::bit_cast<float>(static_cast<std::uint32_t>(byte_at(row + 2 * i) | byte_at(row + 2 * i + 1) << 8) << 16);
    case SourceType::q8_0: {
      const std::byte* block = row + i / 32 * 34;
      return half_at(block) * signed_at(block + 2 + j);
    }
    case SourceType::q4_0: {
      const std::byte* block = row + i / 32 * 18;
      return half_at(block) * (nibble(block + 2 + j % 16, j >= 16) - 8);
    }
    case SourceType::q4_1: {
      const std::byte* block = row + i / 32 * 20;
      return half_at(block) * nibble(block + 4 + j % 16, j >= 16) + half_at(block + 2);
    }
    case SourceType::q6_k: {
      // 128 values at a time: the low 4 bits of values 64 apart share a byte, the high 2 bits of values 32 apart share one; a scale for 16.
      const std::byte* block = row + i / 256 * 210;
      const std::size_t n = i % 256, half = n / 128, in = n % 128;
      const int low = nibble(block + 64 * half + in % 64, in >= 64);
      const int high = byte_at(block + 128 + 32 * half + in % 32) >> (2 * (in / 32)) & 3;
      return half_at(block + 208) * signed_at(block + 192 + n / 16) * ((low | high << 4) - 32);
    }
  }
  return NAN;
}

constexpr SourceType kTypes[] = {SourceType::f32,  SourceType::f16,  SourceType::bf16, SourceType::f64,
                                 SourceType::q8_0, SourceType::q4_0, SourceType::q4_1, SourceType::q6_k};

std::vector<std::byte> random_row(SourceType type, std::size_t k, std::mt19937& random) {
  std::vector<std::byte> row(source_row_bytes(type, k));
  for (std::byte& b : row) b = static_cast<std::byte>(random());
  if (type == SourceType::f64)  // past the range of floats is tested apart
    for (std::size_t i = 0; i < k; i++) {
      const double v = std::normal_distribution<double>()(random);
      std::memcpy(row.data() + 8 * i, &v, sizeof v);
    }
  return row;
}

bool same(float a, float b) {
  return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b) || (std::isnan(a) && std::isnan(b));
}

}  // namespace

TEST_CASE("the table of source types") {
  const struct {
    const char* name;
    std::uint32_t values, bytes;
    const char* exact;
  } expected[] = {{"F32", 1, 4, "f32"},     {"F16", 1, 2, "f16"},     {"BF16", 1, 2, "bf16"},   {"F64", 1, 8, nullptr},
                  {"Q8_0", 32, 34, "q8_0"}, {"Q4_0", 32, 18, "q4_0"}, {"Q4_1", 32, 20, "q4_1"}, {"Q6_K", 256, 210, nullptr}};
  for (const SourceType type : kTypes) {
    const auto& e = expected[static_cast<std::size_t>(type)];
    const SourceTypeInfo& info = source_type_info(type);
    CHECK(info.type == type);
    CHECK(std::string(info.name) == e.name);
    CHECK(info.block_values == e.values);
    CHECK(info.block_bytes == e.bytes);
    CHECK((info.exact == nullptr) == (e.exact == nullptr));
    if (info.exact && e.exact) CHECK(format_of(*info.exact).name == std::string(e.exact));
    CHECK(source_row_bytes(type, 1u << 20) == (std::uint64_t{1} << 20) / e.values * e.bytes);
  }
}

TEST_CASE("any bytes decode to what the formulas say, for every type") {
  std::mt19937 random(1);
  std::size_t values = 0;
  for (const SourceType type : kTypes)
    for (const std::size_t blocks : {1, 2, 3, 37}) {
      const std::size_t k = blocks * source_type_info(type).block_values;
      for (int run = 0; run < 30; run++) {
        const std::vector<std::byte> row = random_row(type, k, random);
        std::vector<float> got(k);
        decode_source_row(type, row, k, got.data());
        for (std::size_t i = 0; i < k; i++, values++) {
          const float wanted = static_cast<float>(value_of(type, row.data(), i));
          if (same(got[i], wanted)) continue;
          CAPTURE(std::string(source_type_info(type).name));
          CAPTURE(i);
          REQUIRE(got[i] == wanted);
        }
      }
    }
  CHECK(values > 300'000);
}

TEST_CASE("doubles past the range of floats become infinities, those below it zeros") {
  const double doubles[] = {1e300, -1e300, 1e-300, 0.1, INFINITY};
  float out[5];
  decode_source_row(SourceType::f64, std::as_bytes(std::span(doubles)), 5, out);
  CHECK(out[0] == INFINITY);
  CHECK(out[1] == -INFINITY);
  CHECK(out[2] == 0);
  CHECK(out[3] == 0.1f);
  CHECK(out[4] == INFINITY);
}

TEST_CASE("transcoding to strips gives the very floats of the source, tails and missing rows too") {
  std::mt19937 random(2);
  for (const SourceType type : kTypes) {
    const SourceTypeInfo& info = source_type_info(type);
    if (!info.exact) continue;
    const Format& format = format_of(*info.exact);
    for (const std::size_t k : {1, 31, 32, 33, 64, 96, 128, 160, 350, 576, 700, 3735, 3744}) {
      if (k % info.block_values) continue;
      for (const std::size_t present : {1, 5, 16}) {
        std::vector<std::vector<std::byte>> rows;
        std::span<const std::byte> spans[16];
        for (std::size_t r = 0; r < present; r++) rows.push_back(random_row(type, k, random));
        for (std::size_t r = 0; r < present; r++) spans[r] = rows[r];
        std::vector<std::byte> strip(kernels::strip_bytes(format.layout, k), std::byte{0xa5});
        transcode_strip(type, spans, k, strip.data());
        std::vector<float> wanted(k), got(k);
        CAPTURE(std::string(info.name));
        CAPTURE(k);
        for (std::size_t r = 0; r < 16; r++) {
          kernels::decode_strip_row(format.layout, strip.data(), k, r, got.data());
          std::fill(wanted.begin(), wanted.end(), 0.0f);
          if (r < present) decode_source_row(type, rows[r], k, wanted.data());
          std::size_t different = 0;
          for (std::size_t i = 0; i < k; i++) different += !(r < present ? same(got[i], wanted[i]) : got[i] == 0);
          CHECK(different == 0);
        }
      }
    }
  }
}

TEST_CASE("a row past the matrix's end has the scale and the code of zero") {
  std::vector<std::byte> row(34, std::byte{1});
  std::span<const std::byte> spans[16];
  spans[3] = row;
  std::vector<std::byte> strip(kernels::strip_bytes(kernels::Layout::q8_0, 32));
  transcode_strip(SourceType::q8_0, spans, 32, strip.data());
  CHECK(strip[0] == std::byte{0});
  CHECK(strip[6] == std::byte{1});
  CHECK(strip[128] == std::byte{128});
  CHECK(strip[128 + 12] == std::byte{129});
}
