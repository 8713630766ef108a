// `plan MODEL[,MODEL..] --sweep card=all` or card=NAME,NAME: speed on each card, a line a model and format, as a table and as a picture.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tools/plan_card.h"

namespace leafcutter::tools {

// "card=all", "card=gtx1060-6gb,rtx4090": the names, each of the table. Throws Error(usage).
std::vector<std::string> parse_card_sweep(const std::string& text);

struct CardPoint {
  std::string series;  // model and format
  std::string card;
  bool fits = false;
  std::string refusal;  // when it does not
  double tokens_per_s = 0, prompt_s = 0, first_token_s = 0;
  std::string limit, strategy;
  double host_share = 0, bound_ratio = 1;                              // step over the longest lane from first principles
  std::uint64_t device_bytes = 0, host_bytes = 0, streamed_bytes = 0;  // of weights
};

CardPoint point_of(const std::string& series, const CardEstimate& estimate);

std::string card_sweep_text(const std::vector<CardPoint>& points);
nlohmann::ordered_json card_sweep_json(const CardPoint& point);
// .svg or .html, as write_sweep_picture.
void write_card_sweep_picture(const std::string& path, const std::string& title, const std::vector<CardPoint>& points);

}  // namespace leafcutter::tools
