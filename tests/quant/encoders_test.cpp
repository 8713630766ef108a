// Encoders against what the formats promise, in double; what decode_strip says about the bytes is docs/weight-layouts.md's meaning.
#include "quant/encoders.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "base/half.h"
#include "kernels/matmul.h"
#include "quant/quantize_isa.h"

using namespace leafcutter;
using namespace leafcutter::quant;
using kernels::Layout;

namespace {

constexpr std::size_t kWidths[] = {1, 31, 32, 33, 127, 128, 129, 350, 576, 700, 3735};
constexpr FormatId kQuantized[] = {FormatId::q8, FormatId::q8row, FormatId::q4};
// The float of a row times codes must be a normal number; rows below become zeros. The largest product of codes is 255 * 127.
constexpr double kTiny = 255.0 * 127 * FLT_MIN;

struct Strip {
  std::size_t k;
  std::vector<float> rows;
  explicit Strip(std::size_t width) : k(width), rows(16 * width) {}
  float& at(std::size_t r, std::size_t i) { return rows[r * k + i]; }
  std::span<const float> row(std::size_t r) const { return std::span(rows).subspan(r * k, k); }
};

using Draw = std::function<float(std::mt19937&)>;

struct Values {
  const char* name;
  Draw draw;
};

const Values kValues[] = {
    {"normal", [](std::mt19937& r) { return std::normal_distribution<float>(0, 0.02f)(r); }},
    {"all positive", [](std::mt19937& r) { return std::uniform_real_distribution<float>(0.5f, 0.9f)(r); }},
    {"all negative", [](std::mt19937& r) { return std::uniform_real_distribution<float>(-2.0f, -1.9f)(r); }},
    {"heavy tails", [](std::mt19937& r) { return std::student_t_distribution<float>(2)(r); }},
    {"mostly zeros", [](std::mt19937& r) { return r() % 50 ? 0.0f : 1.0f; }},
    {"two values", [](std::mt19937& r) { return r() % 2 ? -0.25f : 0.5f; }},
    {"all scales", [](std::mt19937& r) { return std::ldexp(r() % 2 ? 1.0f : -1.0f, static_cast<int>(r() % 60) - 30); }},
    {"denormals", [](std::mt19937& r) { return std::ldexp(static_cast<float>(r() % 2000) - 1000, -149); }},
    {"denormals among others", [](std::mt19937& r) { return r() % 40 ? std::ldexp(static_cast<float>(r() % 99), -149) : 0.01f; }},
    {"small but normal", [](std::mt19937& r) { return 1e-30f * std::normal_distribution<float>()(r); }},
    {"huge", [](std::mt19937& r) { return 1e37f * std::uniform_real_distribution<float>(-1, 1)(r); }},
    {"huge among others", [](std::mt19937& r) { return r() % 500 ? std::normal_distribution<float>()(r) : -3e37f; }},
};

Strip draw_strip(const Values& values, std::size_t k, unsigned seed) {
  std::mt19937 random(seed);
  Strip strip(k);
  for (float& v : strip.rows) v = values.draw(random);
  return strip;
}

std::vector<std::byte> encode(FormatId id, const Strip& strip) {
  const Format& format = format_of(id);
  std::vector<std::byte> bytes(kernels::strip_bytes(format.layout, strip.k), std::byte{0xa5});
  format.encode(strip.rows.data(), strip.k, bytes.data());
  return bytes;
}

std::vector<float> decode(FormatId id, const std::vector<std::byte>& bytes, std::size_t k) {
  std::vector<float> rows(16 * k);
  kernels::decode_strip(format_of(id).layout, bytes.data(), k, rows.data());
  return rows;
}

struct Range {
  double low = 0, high = 0;  // zero is always in it
  double top() const { return std::max(-low, high); }
};

Range range_of(std::span<const float> values) {
  Range range;
  for (const float v : values) {
    range.low = std::min(range.low, double{v});
    range.high = std::max(range.high, double{v});
  }
  return range;
}

std::span<const float> group_of(std::span<const float> row, std::size_t g) {
  return row.subspan(32 * g, std::min<std::size_t>(32, row.size() - 32 * g));
}

// How far a value of row r, group g may be from what it was. The factor leaves room for the roundings of floats.
double bound(FormatId id, const Strip& strip, std::size_t r, std::size_t g) {
  const double row = range_of(strip.row(r)).top();
  const Range group = range_of(group_of(strip.row(r), g));
  if (row < kTiny) return row;
  switch (id) {
    case FormatId::q8row:
      return row / 254 * 1.0001;
    case FormatId::q8:  // the group's scale is rounded up to a 255th of the row's largest
      return (group.top() / 127 + row / 127 / 255) / 2 * 1.001;
    default:  // half a step of the range, twice that for what the search clips; then what rounding scale and minimum may move
      return (group.high - group.low) / 15 * 2 + row * 2 / 15 / 255 * 8 + row / 255;
  }
}

}  // namespace

TEST_CASE("every value comes back within its format's bound, for all widths and kinds of values") {
  for (const FormatId id : kQuantized)
    for (const Values& values : kValues)
      for (const std::size_t k : kWidths) {
        const Strip strip = draw_strip(values, k, static_cast<unsigned>(k));
        const std::vector<float> back = decode(id, encode(id, strip), k);
        CAPTURE(std::string(format_of(id).name));
        CAPTURE(std::string(values.name));
        CAPTURE(k);
        for (std::size_t r = 0; r < 16; r++)
          for (std::size_t g = 0; g < (k + 31) / 32; g++) {
            const double most = bound(id, strip, r, g);
            for (std::size_t i = 32 * g; i < std::min(k, 32 * g + 32); i++) {
              const double difference = std::fabs(double{back[r * k + i]} - strip.rows[r * k + i]);
              if (difference <= most) continue;  // doctest's checks are slow
              CAPTURE(r);
              CAPTURE(i);
              CAPTURE(strip.rows[r * k + i]);
              REQUIRE(difference <= most);
              return;
            }
          }
      }
}

TEST_CASE("q8 and q8row are the double-precision reference to the code, but for ties") {
  std::size_t ties = 0, codes = 0;
  for (const std::size_t k : kWidths) {
    const Strip strip = draw_strip(kValues[0], k, static_cast<unsigned>(k) + 1);
    const std::vector<std::byte> q8 = encode(FormatId::q8, strip), q8row = encode(FormatId::q8row, strip);
    for (std::size_t r = 0; r < 16; r++) {
      const double top = range_of(strip.row(r)).top();
      float row_d, row_of_q8;
      std::memcpy(&row_d, q8row.data() + 4 * r, sizeof row_d);
      std::memcpy(&row_of_q8, q8.data() + 4 * r, sizeof row_of_q8);
      REQUIRE(row_d == doctest::Approx(top / 127).epsilon(1e-6));
      REQUIRE(row_of_q8 == doctest::Approx(top / 127 / 255).epsilon(1e-6));
      for (std::size_t g = 0; g < (k + 31) / 32; g++) {
        // Places from docs/weight-layouts.md.
        const std::size_t b = g / 4, s = g % 4;
        const int scale = std::to_integer<int>(q8[128 + 2112 * b + 16 * s + r]);
        const double wanted = range_of(group_of(strip.row(r), g)).top() / 127;
        REQUIRE(scale * double{row_of_q8} >= wanted * (1 - 1e-3));  // rounded up, so that 127 is enough; a hair less at exact multiples
        REQUIRE((scale - 1) * double{row_of_q8} <= wanted);
        for (std::size_t i = 32 * g; i < std::min(k, 32 * g + 32); i++) {
          const std::size_t w = i % 128 / 4;
          const int code = std::to_integer<int>(q8[128 + 2112 * b + 64 + 64 * w + 4 * r + i % 4]) - 128;
          const int code_row = std::to_integer<int>(q8row[64 + 2048 * b + 64 * w + 4 * r + i % 4]) - 128;
          const double exact = scale > 0 ? strip.rows[r * k + i] / (scale * double{row_of_q8}) : 0;
          const double exact_row = strip.rows[r * k + i] / double{row_d};
          codes += 2;
          ties += (code != std::clamp(std::nearbyint(exact), -127.0, 127.0)) + (code_row != std::nearbyint(exact_row));
          REQUIRE(std::fabs(std::clamp(exact, -127.0, 127.0) - code) <= 0.5 + 1e-4);
          REQUIRE(std::fabs(exact_row - code_row) <= 0.5 + 1e-4);
        }
      }
    }
  }
  CAPTURE(codes);
  CHECK(ties <= codes / 10000);
}

TEST_CASE("q4 stores the nearest code for its scale and minimum, and is close to the best that any scale and minimum give") {
  double ours = 0, best = 0, plain = 0;
  for (const std::size_t k : {32, 350}) {
    const Strip strip = draw_strip(kValues[0], k, static_cast<unsigned>(k) + 2);
    const std::vector<std::byte> bytes = encode(FormatId::q4, strip);
    for (std::size_t r = 0; r < 16; r++) {
      float d, m;
      std::memcpy(&d, bytes.data() + 4 * r, sizeof d);
      std::memcpy(&m, bytes.data() + 64 + 4 * r, sizeof m);
      for (std::size_t g = 0; g < (k + 31) / 32; g++) {
        const std::byte* block = bytes.data() + 128 + 1152 * (g / 4);
        const double scale = d * std::to_integer<int>(block[32 * (g % 4) + r]),
                     minimum = m * std::to_integer<int>(block[32 * (g % 4) + 16 + r]);
        const auto nearest = [](double x, double s, double least) {
          return s > 0 ? std::clamp(std::nearbyint((x + least) / s), 0.0, 15.0) : 0.0;
        };
        std::vector<double> x(32);  // a group that is not full was padded with zeros
        std::ranges::copy(group_of(strip.row(r), g), x.begin());
        const auto error_of = [&](double s, double least) {
          double error = 0;
          for (const double v : x) error += std::pow(nearest(v, s, least) * s - least - v, 2);
          return error;
        };
        for (std::size_t i = 32 * g; i < std::min(k, 32 * g + 32); i++) {
          const int pair = std::to_integer<int>(block[128 + 64 * (i % 128 / 8) + 4 * r + i % 4]);
          const double code = i % 8 < 4 ? pair & 15 : pair >> 4;
          REQUIRE(std::fabs(code * scale - minimum - x[i - 32 * g]) <=
                  std::fabs(nearest(x[i - 32 * g], scale, minimum) * scale - minimum - x[i - 32 * g]) + scale * 1e-4);
        }
        const Range range = range_of(group_of(strip.row(r), g));
        double least = error_of((range.high - range.low) / 15, -range.low);
        plain += least;
        for (int i = 0; i < 50; i++)
          for (int j = 0; j < 50; j++)
            least = std::min(least, error_of((range.high - range.low) / 15 * (0.7 + 0.008 * i), -range.low * (0.7 + 0.008 * j)));
        best += least;
        ours += error_of(scale, minimum);
      }
    }
  }
  MESSAGE("squared error of q4 / best of 2500 tries a group in double: " << ours / best << ", of the plain range: " << plain / best);
  CHECK(ours <= 1.06 * best);
  CHECK(ours < plain);
}

TEST_CASE("float formats: f32 exact, f16 and bf16 the nearest there is") {
  for (const Values& values : kValues)
    for (const std::size_t k : kWidths) {
      Strip strip = draw_strip(values, k, static_cast<unsigned>(k));
      CHECK(std::memcmp(decode(FormatId::f32, encode(FormatId::f32, strip), k).data(), strip.rows.data(), 64 * k) == 0);
      for (const FormatId id : {FormatId::f16, FormatId::bf16}) {
        if (id == FormatId::f16)  // past 65504 there is nothing to be near to
          for (float& v : strip.rows) v = std::clamp(v, -65504.0f, 65504.0f);
        const std::vector<float> back = decode(id, encode(id, strip), k);
        const int digits = id == FormatId::f16 ? 11 : 8, least = id == FormatId::f16 ? -24 : -133;
        for (std::size_t i = 0; i < back.size(); i++) {
          const double x = strip.rows[i];
          const double step = std::max(std::ldexp(1.0, least), x == 0 ? 0 : std::ldexp(1.0, std::ilogb(x) + 1 - digits));
          if (std::fabs(back[i] - x) > step / 2) {
            CAPTURE(x);
            REQUIRE(std::fabs(back[i] - x) <= step / 2);
          }
        }
      }
    }
}

TEST_CASE("float formats keep NaN and infinities; f16 has one for what is past its range") {
  constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();
  Strip strip(3);
  strip.rows[0] = kInfinity;
  strip.rows[7] = -kInfinity;
  strip.rows[20] = kNan;
  strip.rows[47] = 1e20f;
  for (const FormatId id : {FormatId::f32, FormatId::f16, FormatId::bf16}) {
    const std::vector<float> back = decode(id, encode(id, strip), 3);
    CHECK(back[0] == kInfinity);
    CHECK(back[7] == -kInfinity);
    CHECK(std::isnan(back[20]));
    CHECK(back[1] == 0);
    if (id == FormatId::f16)
      CHECK(back[47] == kInfinity);
    else
      CHECK(back[47] == doctest::Approx(1e20f).epsilon(0.004));
  }
}

TEST_CASE("rows of zeros are zeros, and a row does not depend on its neighbours") {
  for (const FormatId id : {FormatId::f32, FormatId::f16, FormatId::bf16, FormatId::q8, FormatId::q8row, FormatId::q4})
    for (const std::size_t k : kWidths) {
      CAPTURE(std::string(format_of(id).name));
      CAPTURE(k);
      const Strip full = draw_strip(kValues[0], k, static_cast<unsigned>(k));
      const std::vector<float> of_full = decode(id, encode(id, full), k);
      for (const std::size_t rows : {0, 1, 7, 15}) {  // a matrix that ends in this strip
        Strip some = full;
        std::fill(some.rows.begin() + static_cast<std::ptrdiff_t>(rows * k), some.rows.end(), 0.0f);
        const std::vector<float> back = decode(id, encode(id, some), k);
        CHECK(std::equal(back.begin(), back.begin() + static_cast<std::ptrdiff_t>(rows * k), of_full.begin()));
        CHECK(std::all_of(back.begin() + static_cast<std::ptrdiff_t>(rows * k), back.end(), [](float v) { return v == 0; }));
      }
    }
}

TEST_CASE("constant rows come back as they were, to the rounding of floats") {
  for (const FormatId id : kQuantized)
    for (const float value : {1.0f, -1.0f, 0.02f, -0.02f, 3e-20f, -1e30f, 0.7f})
      for (const std::size_t k : {32, 576}) {
        Strip strip(k);
        for (float& v : strip.rows) v = value;
        for (const float v : decode(id, encode(id, strip), k))
          if (std::fabs(v - value) > std::fabs(value) * 1e-6f) {
            CAPTURE(std::string(format_of(id).name));
            CAPTURE(value);
            REQUIRE(v == value);
          }
      }
}

TEST_CASE("what lies past k is the code of zero or zero bytes, and every byte is written") {
  for (const FormatId id : {FormatId::f32, FormatId::f16, FormatId::bf16, FormatId::q8, FormatId::q8row, FormatId::q4})
    for (const std::size_t k : {1, 31, 33, 350, 700}) {
      const Format& format = format_of(id);
      const Strip strip = draw_strip(kValues[0], k, 1);
      std::vector<std::byte> a(kernels::strip_bytes(format.layout, k), std::byte{0xa5}), b(a.size(), std::byte{0x5a});
      format.encode(strip.rows.data(), k, a.data());
      format.encode(strip.rows.data(), k, b.data());
      CAPTURE(std::string(format.name));
      CAPTURE(k);
      CHECK(a == b);
      if (id == FormatId::q8row)
        for (std::size_t i = k; i < (k + 31) / 32 * 32; i++)
          for (std::size_t r = 0; r < 16; r++) REQUIRE(a[64 + 64 * (i / 4) + 4 * r + i % 4] == std::byte{128});
    }
}

TEST_CASE("the quantizers of all instruction sets give the same bytes") {
  const QuantizeTable& portable = quantize_table(kernels::Isa::portable);
  std::size_t compared = 0;
  for (const kernels::IsaInfo& isa : kernels::isa_table()) {
    if (!isa.here) {
      MESSAGE("skipped, not on this processor: ", std::string(isa.name));
      continue;
    }
    const QuantizeTable& table = quantize_table(isa.isa);
    for (const Values& values : kValues)
      for (const std::size_t k : kWidths) {
        const Strip strip = draw_strip(values, k, static_cast<unsigned>(7 * k + 1));
        const struct {
          Layout layout;
          EncodeStrip wanted, got;
        } formats[] = {
            {Layout::q8, portable.q8, table.q8}, {Layout::q8row, portable.q8row, table.q8row}, {Layout::q4, portable.q4, table.q4}};
        for (const auto& f : formats) {
          std::vector<std::byte> wanted(kernels::strip_bytes(f.layout, k)), got(wanted.size());
          f.wanted(strip.rows.data(), k, wanted.data());
          f.got(strip.rows.data(), k, got.data());
          CAPTURE(std::string(isa.name));
          CAPTURE(std::string(values.name));
          CAPTURE(k);
          CAPTURE(static_cast<int>(f.layout));
          CHECK(wanted == got);
          compared++;
        }
      }
  }
  CHECK(compared >= 3 * std::size(kValues) * std::size(kWidths));
}
