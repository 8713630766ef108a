// `plan --sweep memory=LOW:HIGH`: speed against memory, a line a format, as a table and as a picture.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tools/line_chart.h"
#include "tools/plan_estimate.h"

namespace leafcutter::tools {

struct SweepRange {
  std::uint64_t low = 0, high = 0;
  std::size_t points = 15;
};

// "memory=1GiB:8GiB", or with a number of points "memory=1GiB:8GiB:29". Throws Error(usage).
SweepRange parse_sweep(const std::string& text);

struct SweepPoint {
  std::string format;
  std::uint64_t memory = 0;
  bool fits = false;
  std::string refusal;  // when it does not
  double tokens_per_s = 0, first_token_s = 0;
  std::string limit;
  std::uint64_t resident_bytes = 0, streamed_bytes = 0;
};

std::string sweep_text(const std::vector<SweepPoint>& points);
nlohmann::ordered_json sweep_json(const SweepPoint& point);

struct SweepTable {
  std::vector<std::string> head;
  std::vector<std::vector<std::string>> rows;  // a row that is shorter than the head: its last cell goes to the end
};

// .svg: the charts one below the other; .html: the same with the table and a remark, in one file. Throws Error(usage) for another ending, Error(io).
void write_sweep_page(const std::string& path, const std::string& title, const std::vector<Chart>& charts, const SweepTable& table,
                      const std::string& remark);

// .svg: the two pictures (speed, time to the first token); .html: the same with the table, in one file. Throws Error(usage) for another ending, Error(io).
void write_sweep_picture(const std::string& path, const std::string& title, const std::vector<SweepPoint>& points);

}  // namespace leafcutter::tools
