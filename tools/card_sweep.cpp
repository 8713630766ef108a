#include "tools/card_sweep.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/size_text.h"
#include "tools/name_list.h"
#include "tools/plan_sweep.h"

namespace leafcutter::tools {
namespace {

// Cards stand side by side in the order of the sweep.
Chart chart_of(const std::string& title, const std::string& y_label, const std::vector<CardPoint>& points, double CardPoint::*value) {
  Chart chart{title, "card", y_label, {}, {}};
  for (const CardPoint& point : points)
    if (std::find(chart.x_names.begin(), chart.x_names.end(), point.card) == chart.x_names.end()) chart.x_names.push_back(point.card);
  for (const CardPoint& point : points) {
    if (!point.fits) continue;
    if (chart.lines.empty() || chart.lines.back().name != point.series) chart.lines.push_back({point.series, {}});
    const auto at = std::find(chart.x_names.begin(), chart.x_names.end(), point.card) - chart.x_names.begin();
    chart.lines.back().points.emplace_back(static_cast<double>(at), point.*value);
  }
  return chart;
}

SweepTable table_of(const std::vector<CardPoint>& points) {
  SweepTable table{{"model", "card", "tokens/s", "prompt", "first token", "limit", "strategy", "host's share", "on the card", "in memory",
                    "from disk each step"},
                   {}};
  for (const CardPoint& p : points)
    table.rows.push_back(p.fits ? std::vector<std::string>{p.series, p.card, fmt::format("{:.2f}", p.tokens_per_s),
                                                           fmt::format("{:.2f} s", p.prompt_s), fmt::format("{:.2f} s", p.first_token_s),
                                                           p.limit, p.strategy, fmt::format("{:.0f} %", 100 * p.host_share),
                                                           format_bytes(p.device_bytes), format_bytes(p.host_bytes),
                                                           format_bytes(p.streamed_bytes)}
                                : std::vector<std::string>{p.series, p.card, "does not fit"});
  return table;
}

}  // namespace

std::vector<std::string> parse_card_sweep(const std::string& text) {
  constexpr std::string_view kName = "card=";
  std::vector<std::string> names;
  if (text == "card=all") {
    for (const offload::Card& card : offload::cards()) names.emplace_back(card.name);
    return names;
  }
  names = name_list(text.substr(kName.size()));
  if (names.empty()) throw Error(ErrorKind::usage, "--sweep " + text, "names no card", "write card=all or card=gtx1060-3gb,gtx1060-6gb");
  for (const std::string& name : names) offload::find_card(name);
  return names;
}

CardPoint point_of(const std::string& series, const CardEstimate& estimate) {
  const offload::CardCandidate& best = estimate.best();
  CardPoint point;
  point.series = series;
  point.card = estimate.card;
  point.fits = true;
  point.tokens_per_s = estimate.tokens_per_s();
  point.prompt_s = best.prompt_seconds;
  point.first_token_s = best.first_token_s();
  point.limit = best.decode.limit();
  point.strategy = best.plan.device_resident_bytes > 0 && best.plan.host_resident_bytes == 0 && best.plan.streamed_bytes == 0
                       ? "all on the card"
                       : best.strategy;
  point.host_share = best.host_share;
  point.bound_ratio = best.decode.seconds / best.decode.bound();
  point.device_bytes = best.plan.device_resident_bytes;
  point.host_bytes = best.plan.host_resident_bytes;
  point.streamed_bytes = best.plan.streamed_bytes;
  return point;
}

std::string card_sweep_text(const std::vector<CardPoint>& points) {
  std::string text = fmt::format("{:20} {:14} {:>9} {:>9} {:>12} {:>7} {:>15} {:>6} {:>10} {:>10} {:>10}\n", "model", "card", "tokens/s",
                                 "prompt", "first token", "limit", "strategy", "host", "on card", "in memory", "from disk");
  for (const CardPoint& p : points)
    text += p.fits ? fmt::format("{:20} {:14} {:>9.2f} {:>7.2f} s {:>10.2f} s {:>7} {:>15} {:>4.0f} % {:>10} {:>10} {:>10}\n", p.series,
                                 p.card, p.tokens_per_s, p.prompt_s, p.first_token_s, p.limit, p.strategy, 100 * p.host_share,
                                 format_bytes(p.device_bytes), format_bytes(p.host_bytes), format_bytes(p.streamed_bytes))
                   : fmt::format("{:20} {:14} does not fit\n", p.series, p.card);
  return text;
}

nlohmann::ordered_json card_sweep_json(const CardPoint& p) {
  if (!p.fits) return {{"model", p.series}, {"card", p.card}, {"fits", false}, {"reason", p.refusal}};
  return {{"model", p.series},
          {"card", p.card},
          {"fits", true},
          {"tokens_per_s", p.tokens_per_s},
          {"prompt_s", p.prompt_s},
          {"first_token_s", p.first_token_s},
          {"limit", p.limit},
          {"strategy", p.strategy},
          {"host_share", p.host_share},
          {"step_over_bound", p.bound_ratio},
          {"device_weights", p.device_bytes},
          {"host_weights", p.host_bytes},
          {"streamed_bytes", p.streamed_bytes}};
}

void write_card_sweep_picture(const std::string& path, const std::string& title, const std::vector<CardPoint>& points) {
  write_sweep_page(path, title,
                   {chart_of(title + ": speed", "tokens a second", points, &CardPoint::tokens_per_s),
                    chart_of(title + ": time of the prompt", "seconds", points, &CardPoint::prompt_s)},
                   table_of(points), "Predicted by simulation from the card table; no card has run it.");
}

}  // namespace leafcutter::tools
