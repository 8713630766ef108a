#include "tools/line_chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace leafcutter::tools {
namespace {

constexpr int kLeft = 76, kRight = 120, kTop = 46, kBottom = 56;
constexpr const char* kColours[] = {"#2b6cb0", "#c05621", "#2f855a", "#6b46c1", "#b83280",
                                    "#4a5568", "#975a16", "#2c7a7b", "#90cdf4", "#fbb6ce"};

struct Axis {
  double low = 0, high = 1, step = 1;
  int from = 0, to = 1;  // pixels

  double at(double value) const { return from + (value - low) / (high - low) * (to - from); }
};

// 1, 2 or 5 times a power of ten, so that about five ticks fit.
double round_step(double span) {
  const double rough = span / 5, power = std::pow(10, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0})
    if (rough <= factor * power) return factor * power;
  return 10 * power;
}

Axis axis(double low, double high, int from, int to) {
  Axis a;
  if (!(high > 0)) high = 1;
  if (low > high / 2 && high > low)
    a.step = round_step(high - low);
  else
    low = 0, a.step = round_step(high);
  a.low = std::floor(low / a.step) * a.step;
  a.high = std::max(std::ceil(high / a.step - 1e-9) * a.step, a.low + a.step);
  a.from = from;
  a.to = to;
  return a;
}

Axis axis_of_names(std::size_t names) { return {-0.5, static_cast<double>(names) - 0.5, 1, kLeft, kChartWidth - kRight}; }

std::string number(double value) { return fmt::format("{:.4g}", value); }

const char* colour_of(std::size_t line) { return kColours[line % std::size(kColours)]; }

std::string lines_of(const Chart& chart, const Axis& xs, const Axis& ys) {
  std::string svg;
  // Names stand at the ends of their lines, moved apart where they would overlap.
  std::vector<std::pair<double, std::size_t>> ends;
  for (std::size_t l = 0; l < chart.lines.size(); l++)
    if (!chart.lines[l].points.empty()) ends.emplace_back(ys.at(chart.lines[l].points.back().second), l);
  std::sort(ends.begin(), ends.end());
  for (std::size_t i = 1; i < ends.size(); i++) ends[i].first = std::max(ends[i].first, ends[i - 1].first + 16);
  for (const auto& [y, l] : ends) {
    const ChartLine& line = chart.lines[l];
    const char* colour = colour_of(l);
    std::string points;
    for (const auto& [px, py] : line.points) points += fmt::format("{:.1f},{:.1f} ", xs.at(px), ys.at(py));
    svg += fmt::format("<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2.2\"/>\n", points, colour);
    for (const auto& [px, py] : line.points)
      svg += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\" fill=\"{}\"><title>{}: {} {}, {} {}</title></circle>\n", xs.at(px),
                         ys.at(py), colour, xml_text(line.name), number(px), xml_text(chart.x_label), number(py), xml_text(chart.y_label));
    svg += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" class=\"name\" fill=\"{}\">{}</text>\n", xs.at(line.points.back().first) + 9, y + 4,
                       colour, xml_text(line.name));
  }
  return svg;
}

// Groups fill most of the room between two names. The key stands at the right, in the order of the bars.
std::string bars_of(const Chart& chart, const Axis& xs, const Axis& ys) {
  constexpr double kGroup = 0.86;
  std::string svg;
  const double width = kGroup / static_cast<double>(std::max<std::size_t>(1, chart.lines.size())), floor = ys.at(ys.low);
  for (std::size_t l = 0; l < chart.lines.size(); l++) {
    const ChartLine& line = chart.lines[l];
    for (const auto& [px, py] : line.points) {
      const double left = xs.at(px - kGroup / 2 + static_cast<double>(l) * width), y = ys.at(py);
      svg += fmt::format(
          "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"{}\"><title>{}: {} {}, {} {}</title></rect>\n", left,
          y, std::max(1.0, xs.at(px + width) - xs.at(px) - 1), floor - y, colour_of(l), xml_text(line.name),
          xml_text(chart.x_names[static_cast<std::size_t>(px)]), xml_text(chart.x_label), number(py), xml_text(chart.y_label));
    }
    const double key = ys.to + 8 + 18 * static_cast<double>(l);
    svg += fmt::format(
        "<rect x=\"{}\" y=\"{:.1f}\" width=\"10\" height=\"10\" fill=\"{}\"/><text x=\"{}\" y=\"{:.1f}\" class=\"tick\">{}</text>\n",
        xs.to + 8, key, colour_of(l), xs.to + 22, key + 9, xml_text(line.name));
  }
  return svg;
}

}  // namespace

std::string xml_text(const std::string& text) {
  std::string safe;
  for (const char c : text) switch (c) {
      case '&':
        safe += "&amp;";
        break;
      case '<':
        safe += "&lt;";
        break;
      case '>':
        safe += "&gt;";
        break;
      case '"':
        safe += "&quot;";
        break;
      default:
        safe += c;
    }
  return safe;
}

std::string chart_svg(const Chart& chart, int top) {
  double x_low = 1e300, x_high = 0, y_low = 1e300, y_high = 0;
  for (const ChartLine& line : chart.lines)
    for (const auto& [x, y] : line.points) {
      x_low = std::min(x_low, x), x_high = std::max(x_high, x);
      y_low = std::min(y_low, y), y_high = std::max(y_high, y);
    }
  const Axis xs = chart.x_names.empty() ? axis(x_low, x_high, kLeft, kChartWidth - kRight) : axis_of_names(chart.x_names.size()),
             ys = axis(0, y_high, kChartHeight - kBottom, kTop);
  std::string svg = fmt::format("<g transform=\"translate(0,{})\">\n<text x=\"{}\" y=\"24\" class=\"title\">{}</text>\n", top, kLeft,
                                xml_text(chart.title));
  for (int i = 0; ys.low + i * ys.step <= ys.high * (1 + 1e-9); i++) {
    const double value = ys.low + i * ys.step, y = ys.at(value);
    svg += fmt::format(
        "<line x1=\"{}\" y1=\"{:.1f}\" x2=\"{}\" y2=\"{:.1f}\" class=\"grid\"/><text x=\"{}\" y=\"{:.1f}\" class=\"tick\" "
        "text-anchor=\"end\">{}</text>\n",
        xs.from, y, xs.to, y, xs.from - 8, y + 4, number(value));
  }
  const auto x_name = [&](double value) {
    return chart.x_names.empty() ? number(value) : xml_text(chart.x_names[static_cast<std::size_t>(value)]);
  };
  for (double value = std::max(xs.low, 0.0); value <= xs.high * (1 + 1e-9); value += xs.step) {
    const double x = xs.at(value);
    svg += fmt::format(
        "<line x1=\"{:.1f}\" y1=\"{}\" x2=\"{:.1f}\" y2=\"{}\" class=\"axis\"/><text x=\"{:.1f}\" y=\"{}\" class=\"tick\" "
        "text-anchor=\"middle\">{}</text>\n",
        x, ys.from, x, ys.from + 5, x, ys.from + 20, x_name(value));
  }
  svg += fmt::format("<line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\" class=\"axis\"/>\n", xs.from, ys.from, xs.to, ys.from);
  svg += fmt::format("<text x=\"{}\" y=\"{}\" class=\"label\" text-anchor=\"middle\">{}</text>\n", (xs.from + xs.to) / 2, kChartHeight - 14,
                     xml_text(chart.x_label));
  svg += fmt::format("<text transform=\"translate(20,{}) rotate(-90)\" class=\"label\" text-anchor=\"middle\">{}</text>\n",
                     (ys.from + ys.to) / 2, xml_text(chart.y_label));

  svg += chart.x_names.empty() ? lines_of(chart, xs, ys) : bars_of(chart, xs, ys);
  return svg + "</g>\n";
}

std::string svg_document(const std::vector<Chart>& charts) {
  const int height = kChartHeight * static_cast<int>(charts.size());
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" width=\"{}\" height=\"{}\" font-family=\"Helvetica, Arial, "
      "sans-serif\">\n"
      "<style>.title{{font-size:16px;font-weight:bold;fill:#1a202c}}.tick{{font-size:12px;fill:#4a5568}}.label{{font-size:13px;fill:#"
      "2d3748}}.name{{font-size:13px;font-weight:bold}}"
      ".grid{{stroke:#e2e8f0}}.axis{{stroke:#718096}}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
      kChartWidth, height, kChartWidth, height);
  for (std::size_t i = 0; i < charts.size(); i++) svg += chart_svg(charts[i], kChartHeight * static_cast<int>(i));
  return svg + "</svg>\n";
}

}  // namespace leafcutter::tools
