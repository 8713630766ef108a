#include "tools/plan_card_command.h"

#include <algorithm>

#include "base/error.h"
#include "tools/console.h"
#include "tools/name_list.h"

namespace leafcutter::tools {

void plan_on_card(const CardQuestion& q, const CommonFlags& common) {
  const CardEstimate now = estimate_on_card(index_to_plan(q.model, q.format), q.card, q.load, q.wish);
  const std::string advice = card_advice(now, q.model, q.format, q.card, q.load, q.wish);
  if (common.json) {
    nlohmann::ordered_json facts = card_json(now);
    facts["advice"] = advice;
    print_json(facts);
  } else {
    print_text(card_text(now) + (advice.empty() ? "" : advice + "\n"));
  }
}

bool is_card_sweep(const std::string& sweep) { return sweep.starts_with("card="); }

void plan_card_sweep(const CardQuestion& q, const std::string& sweep, const std::string& picture, const CommonFlags& common) {
  const std::vector<std::string> cards = parse_card_sweep(sweep);
  std::vector<std::string> models = name_list(q.model);
  if (std::any_of(models.begin(), models.end(), has_formats)) models = {q.model};  // a file, whose name may have a comma
  std::vector<CardPoint> points;
  for (const std::string& name : models)
    for (const std::string& format : formats_of(name, q.format)) {
      const PlannedIndex model = index_to_plan(name, format);
      for (const std::string& card : cards) {
        CardFlags with = q.card;
        with.card = card;
        const std::string series = name + (format.empty() ? "" : " " + format);
        try {
          points.push_back(point_of(series, estimate_on_card(model, with, q.load, q.wish)));
        } catch (const Error& e) {
          if (e.kind() != ErrorKind::out_of_budget) throw;
          CardPoint& point = points.emplace_back();
          point.series = series;
          point.card = card;
          point.refusal = e.what();
        }
      }
    }
  if (!picture.empty()) write_card_sweep_picture(picture, q.model, points);
  if (common.json)
    for (const CardPoint& point : points) print_json(card_sweep_json(point));
  else
    print_text(card_sweep_text(points) + (picture.empty() ? "" : "picture: " + picture + "\n"));
}

}  // namespace leafcutter::tools
