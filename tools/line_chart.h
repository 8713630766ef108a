// A chart of lines or of bars as SVG: self-contained, readable on paper and on screens.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace leafcutter::tools {

struct ChartLine {
  std::string name;
  std::vector<std::pair<double, double>> points;  // x rises; finite
};

struct Chart {
  std::string title, x_label, y_label;
  std::vector<ChartLine> lines;
  std::vector<std::string> x_names =
      {};  // not empty: x are positions among these; a group of bars stands at each, one for each line that has a point there
};

constexpr double kGiB = 1024.0 * 1024 * 1024;  // bytes on an axis in GiB
constexpr int kChartWidth = 820, kChartHeight = 380;

// One <g> with its upper left corner at (0, top). Axes begin at zero where that loses no detail; ticks at round numbers; each line is named at its end, bars by a key beside them; each point has its values as a tooltip.
std::string chart_svg(const Chart& chart, int top);

// The charts one below the other as a whole SVG document.
std::string svg_document(const std::vector<Chart>& charts);

// Text with &, <, > and quotes made harmless in XML and HTML.
std::string xml_text(const std::string& text);

}  // namespace leafcutter::tools
