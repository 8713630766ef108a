#include "offload/system_text.h"

#include <charconv>

namespace leafcutter::offload {
namespace {

constexpr std::uint64_t kNoLimit = std::uint64_t{1} << 60;

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\n' || text.back() == '\r')) text.remove_suffix(1);
  return text;
}

template <class Line>
void for_each_line(std::string_view text, Line&& line) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    line(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

}  // namespace

std::optional<std::uint64_t> number_of(std::string_view text, std::string_view key) {
  std::optional<std::uint64_t> found;
  for_each_line(text, [&](std::string_view line) {
    if (found || !line.starts_with(key)) return;
    line.remove_prefix(key.size());
    if (line.starts_with(':'))
      line.remove_prefix(1);
    else if (!line.starts_with(' ') && !line.starts_with('\t'))
      return;  // a longer key
    line = trimmed(line);
    std::uint64_t number = 0;
    const auto [after, problem] = std::from_chars(line.data(), line.data() + line.size(), number);
    if (problem != std::errc{}) return;
    const std::string_view unit = trimmed(line.substr(static_cast<std::size_t>(after - line.data())));
    if (unit == "kB" && number > kNoLimit / 1024) return;
    found = unit == "kB" ? number * 1024 : number;
  });
  return found;
}

std::optional<std::uint64_t> limit_of(std::string_view text) {
  text = trimmed(text);
  std::uint64_t number = 0;
  const auto [after, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (problem != std::errc{} || after != text.data() + text.size() || number >= kNoLimit) return std::nullopt;
  return number;
}

std::vector<CgroupLine> cgroup_lines(std::string_view text) {
  std::vector<CgroupLine> lines;
  for_each_line(text, [&](std::string_view line) {
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) return;
    CgroupLine parsed;
    std::string_view names = line.substr(first + 1, second - first - 1);
    while (!names.empty()) {
      const std::size_t end = std::min(names.find(','), names.size());
      parsed.controllers.emplace_back(names.substr(0, end));
      names.remove_prefix(std::min(end + 1, names.size()));
    }
    parsed.path = std::string(line.substr(second + 1));
    lines.push_back(std::move(parsed));
  });
  return lines;
}

}  // namespace leafcutter::offload
