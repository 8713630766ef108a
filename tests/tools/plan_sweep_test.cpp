#include "tools/plan_sweep.h"

#include <doctest/doctest.h>

#include "base/error.h"
#include "base/file.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"
#include "tools/line_chart.h"

using namespace leafcutter;
using namespace leafcutter::tools;

namespace {

std::string content(const std::string& path) {
  const auto file = open_file(path);
  std::string text(file->size(), '\0');
  read_exactly(*file, 0, std::as_writable_bytes(std::span(text)), "picture");
  return text;
}

std::vector<SweepPoint> two_lines() {
  std::vector<SweepPoint> points;
  for (const char* format : {"q4", "q8"})
    for (std::uint64_t gib = 1; gib <= 4; gib++) {
      SweepPoint p;
      p.format = format;
      p.memory = gib << 30;
      p.fits = gib > 1;
      p.tokens_per_s = static_cast<double>(gib);
      p.first_token_s = 4.0 / static_cast<double>(gib);
      p.limit = "disk";
      points.push_back(p);
    }
  return points;
}

}  // namespace

TEST_CASE("sweeps are read as people write them") {
  const SweepRange range = parse_sweep("memory=1GiB:8GiB");
  CHECK(range.low == std::uint64_t{1} << 30);
  CHECK(range.high == std::uint64_t{8} << 30);
  CHECK(range.points == 15);
  CHECK(parse_sweep("memory=500MB:2GB:4").points == 4);
  for (const char* bad :
       {"", "memory", "memory=", "memory=1GiB", "memory=2GiB:1GiB", "memory=1GiB:1GiB", "memory=0:1GiB", "memory=10%:1GiB",
        "memory=1GiB:-1GiB", "memory=1GiB:2GiB:1", "memory=1GiB:2GiB:5x", "memory=1GiB:2GiB:", "memory=1GiB:2GiB:2000", "card=a:b"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(parse_sweep(bad), Error);
  }
}

TEST_CASE("points that do not fit are said in the table and left out of the picture") {
  const std::vector<SweepPoint> points = two_lines();
  CHECK(sweep_text(points).find("does not fit") != std::string::npos);
  const test::TemporaryFolder folder;
  const std::string svg = folder.file("a.svg"), html = folder.file("a.html");
  write_sweep_picture(svg, "model <x> & \"y\"", points);
  const std::string picture = content(svg);
  CHECK(picture.starts_with("<svg"));
  CHECK(picture.find("model &lt;x&gt; &amp; &quot;y&quot;") != std::string::npos);
  std::size_t circles = 0;
  for (std::size_t at = 0; (at = picture.find("<circle", at)) != std::string::npos; at++) circles++;
  CHECK(circles == 2 * 2 * 3);  // pictures x formats x points that fit
  write_sweep_picture(html, "model", points);
  CHECK(content(html).find("http") == content(html).find("http://www.w3.org/2000/svg"));  // nothing is fetched
  CHECK_THROWS_AS(write_sweep_picture(folder.file("a.png"), "model", points), Error);
}

TEST_CASE("charts of nothing, one point and equal values are drawn without a division by zero") {
  for (const std::vector<std::pair<double, double>>& points :
       {std::vector<std::pair<double, double>>{}, {{1, 0}}, {{1, 5}, {2, 5}}, {{1e9, 1e-9}, {1e9 + 1, 1e9}}}) {
    const std::string svg = svg_document({{"t", "x", "y", {{"line", points}}}});
    CHECK(svg.find("nan") == std::string::npos);
    CHECK(svg.find("inf") == std::string::npos);
  }
}
