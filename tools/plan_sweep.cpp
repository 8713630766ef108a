#include "tools/plan_sweep.h"

#include <fmt/format.h>

#include <charconv>

#include "base/error.h"
#include "base/file.h"
#include "base/size_text.h"

namespace leafcutter::tools {
namespace {

Chart chart_of(const std::string& title, const std::string& y_label, const std::vector<SweepPoint>& points, double SweepPoint::*value) {
  Chart chart{title, "host memory, GiB", y_label, {}, {}};
  for (const SweepPoint& point : points) {
    if (!point.fits) continue;
    if (chart.lines.empty() || chart.lines.back().name != point.format) chart.lines.push_back({point.format, {}});
    chart.lines.back().points.emplace_back(static_cast<double>(point.memory) / kGiB, point.*value);
  }
  return chart;
}

SweepTable table_of(const std::vector<SweepPoint>& points) {
  SweepTable table{{"format", "memory", "tokens/s", "first token", "limit", "resident", "streamed a step"}, {}};
  for (const SweepPoint& p : points)
    table.rows.push_back(p.fits ? std::vector<std::string>{p.format, format_bytes(p.memory), fmt::format("{:.2f}", p.tokens_per_s),
                                                           fmt::format("{:.2f} s", p.first_token_s), p.limit,
                                                           format_bytes(p.resident_bytes), format_bytes(p.streamed_bytes)}
                                : std::vector<std::string>{p.format, format_bytes(p.memory), "does not fit"});
  return table;
}

std::string html_page(const std::string& title, const SweepTable& table, const std::string& remark, const std::string& svg) {
  std::string page = fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{0}</title>\n"
      "<style>body{{font:15px/1.5 Helvetica,Arial,sans-serif;margin:2em "
      "auto;max-width:60em;color:#1a202c}}table{{border-collapse:collapse}}th,td{{padding:.25em .9em;text-align:right;"
      "border-bottom:1px solid #e2e8f0}}th:first-child,td:first-child{{text-align:left}}</style></head>\n<body><h1>{0}</h1>\n{1}"
      "<table><tr>",
      xml_text(title), svg);
  for (const std::string& name : table.head) page += "<th>" + xml_text(name) + "</th>";
  page += "</tr>\n";
  for (const std::vector<std::string>& row : table.rows) {
    page += "<tr>";
    for (std::size_t i = 0; i < row.size(); i++) {
      const std::size_t columns = i + 1 == row.size() ? table.head.size() - i : 1;
      page += (columns > 1 ? fmt::format("<td colspan=\"{}\">", columns) : std::string("<td>")) + xml_text(row[i]) + "</td>";
    }
    page += "</tr>\n";
  }
  return page + "</table>\n<p>" + xml_text(remark) + "</p></body></html>\n";
}

}  // namespace

SweepRange parse_sweep(const std::string& text) {
  const auto refuse = [&](const std::string& found) -> Error {
    return {ErrorKind::usage, "--sweep " + text, found, "write memory=LOW:HIGH or memory=LOW:HIGH:POINTS, such as memory=1GiB:8GiB"};
  };
  constexpr std::string_view kName = "memory=";
  if (!text.starts_with(kName)) throw refuse("only memory can be swept");
  const std::size_t colon = text.find(':', kName.size());
  if (colon == std::string::npos) throw refuse("there is no upper end");
  const std::size_t second = text.find(':', colon + 1);
  const auto size = [&](std::size_t from, std::size_t to) {
    const SizeText parsed = parse_size(text.substr(from, to - from), "--sweep");
    if (parsed.kind != SizeText::Kind::bytes) throw refuse("ends must be sizes");
    return parsed.bytes;
  };
  SweepRange range;
  range.low = size(kName.size(), colon);
  range.high = size(colon + 1, std::min(second, text.size()));
  if (second != std::string::npos) {
    const auto [end, problem] = std::from_chars(text.data() + second + 1, text.data() + text.size(), range.points);
    if (problem != std::errc() || end != text.data() + text.size() || range.points < 2 || range.points > 1000)
      throw refuse("the number of points is 2 to 1000");
  }
  if (range.low == 0 || range.low >= range.high) throw refuse("the lower end must be below the upper one");
  return range;
}

std::string sweep_text(const std::vector<SweepPoint>& points) {
  std::string text = fmt::format("{:8} {:>10} {:>10} {:>13} {:>8} {:>10} {:>15}\n", "format", "memory", "tokens/s", "first token", "limit",
                                 "resident", "streamed a step");
  for (const SweepPoint& p : points)
    text += p.fits ? fmt::format("{:8} {:>10} {:>10.2f} {:>11.2f} s {:>8} {:>10} {:>15}\n", p.format, format_bytes(p.memory),
                                 p.tokens_per_s, p.first_token_s, p.limit, format_bytes(p.resident_bytes), format_bytes(p.streamed_bytes))
                   : fmt::format("{:8} {:>10} does not fit\n", p.format, format_bytes(p.memory));
  return text;
}

nlohmann::ordered_json sweep_json(const SweepPoint& p) {
  if (!p.fits) return {{"format", p.format}, {"memory", p.memory}, {"fits", false}, {"reason", p.refusal}};
  return {{"format", p.format},
          {"memory", p.memory},
          {"fits", true},
          {"tokens_per_s", p.tokens_per_s},
          {"first_token_s", p.first_token_s},
          {"limit", p.limit},
          {"resident_bytes", p.resident_bytes},
          {"streamed_bytes", p.streamed_bytes}};
}

void write_sweep_page(const std::string& path, const std::string& title, const std::vector<Chart>& charts, const SweepTable& table,
                      const std::string& remark) {
  const std::string svg = svg_document(charts);
  std::string content;
  if (path.ends_with(".svg"))
    content = svg;
  else if (path.ends_with(".html"))
    content = html_page(title, table, remark, svg);
  else
    throw Error(ErrorKind::usage, "-o " + path, "is no picture", "end it in .svg or .html");
  const auto file = create_file(path);
  file->write_at(0, std::as_bytes(std::span(content)));
  file->commit();
}

void write_sweep_picture(const std::string& path, const std::string& title, const std::vector<SweepPoint>& points) {
  write_sweep_page(path, title,
                   {chart_of(title + ": speed", "tokens a second", points, &SweepPoint::tokens_per_s),
                    chart_of(title + ": time to the first token", "seconds", points, &SweepPoint::first_token_s)},
                   table_of(points), "Predicted from this machine's measured rates; nothing was loaded.");
}

}  // namespace leafcutter::tools
