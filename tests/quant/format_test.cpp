#include "quant/format.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <set>
#include <string>
#include <vector>

using namespace leafcutter;
using namespace leafcutter::quant;
using kernels::Layout;

namespace {

// Said here again, from docs/weight-layouts.md: ids of formats are stored in files.
struct Expected {
  int id;
  const char* name;
  Layout layout;
  double bits;
  bool lossless, encodes;
};

constexpr Expected kExpected[] = {
    {0, "f32", Layout::f32, 32, true, true},      {1, "f16", Layout::f16, 16, true, true},      {2, "bf16", Layout::bf16, 16, true, true},
    {3, "q8", Layout::q8, 8.25, false, true},     {4, "q8row", Layout::q8row, 8, false, true},  {5, "q4", Layout::q4, 4.5, false, true},
    {6, "q8_0", Layout::q8_0, 8.5, false, false}, {7, "q4_0", Layout::q4_0, 4.5, false, false}, {8, "q4_1", Layout::q4_1, 5, false, false},
};

}  // namespace

TEST_CASE("the table of formats: ids, names, layouts, bits") {
  REQUIRE(formats().size() == std::size(kExpected));
  for (const Expected& e : kExpected) {
    CAPTURE(e.name);
    const Format* format = find_format(static_cast<FormatId>(e.id));
    REQUIRE(format);
    CHECK(format == &formats()[static_cast<std::size_t>(e.id)]);
    CHECK(format == find_format(std::string(e.name)));
    CHECK(format == &format_of(static_cast<FormatId>(e.id)));
    CHECK(format->id == static_cast<FormatId>(e.id));
    CHECK(std::string(format->name) == e.name);
    CHECK(format->layout == e.layout);
    CHECK(format->bits_per_weight == e.bits);
    CHECK(format->lossless_float == e.lossless);
    CHECK((format->encode != nullptr) == e.encodes);
  }
  CHECK_FALSE(find_format(static_cast<FormatId>(9)));
  CHECK_FALSE(find_format(static_cast<FormatId>(255)));
  for (const char* name : {"", "Q4", "q4 ", "q5", "keep", "plain"}) CHECK_FALSE(find_format(std::string(name)));
}

TEST_CASE("bits a weight are what wide strips take") {
  constexpr std::size_t kWide = std::size_t{1} << 20;
  for (const Format& format : formats()) {
    const double bits = 8.0 * static_cast<double>(kernels::strip_bytes(format.layout, kWide)) / (16.0 * kWide);
    CAPTURE(std::string(format.name));
    CHECK(bits >= format.bits_per_weight);
    CHECK(bits < format.bits_per_weight + 0.001);
  }
}

TEST_CASE("the first value that is not finite is found at every place") {
  constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();
  const float signalling = std::numeric_limits<float>::signaling_NaN();
  for (const std::size_t size : {0, 1, 255, 256, 257, 700}) {
    std::vector<float> values(size, std::numeric_limits<float>::max());
    for (std::size_t i = 0; i < size; i += 3) values[i] = -std::numeric_limits<float>::denorm_min();
    CHECK(first_non_finite(values) == size);
    for (std::size_t at = 0; at < size; at++) {
      const float before = values[at], odd[] = {kInfinity, -kInfinity, kNan, -kNan, signalling};
      values[at] = odd[at % 5];
      const float last = values.back();
      if (at + 1 < size) values.back() = kNan;
      CHECK(first_non_finite(values) == at);
      values.back() = last;
      values[at] = before;
    }
  }
}
