#include "tools/id_list.h"

#include <charconv>

#include "base/error.h"

namespace leafcutter::tools {
namespace {

bool is_separator(char c) { return c == ',' || c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '[' || c == ']'; }

}  // namespace

std::vector<std::uint32_t> parse_ids(const std::string& text, const std::string& where) {
  std::vector<std::uint32_t> ids;
  const char* at = text.data();
  const char* const end = at + text.size();
  for (;;) {
    while (at < end && is_separator(*at)) at++;
    if (at == end) return ids;
    std::uint32_t id = 0;
    const auto [after, problem] = std::from_chars(at, end, id);
    if (problem != std::errc{} || (after < end && !is_separator(*after)))
      throw Error(ErrorKind::usage, where, "byte " + std::to_string(at - text.data()) + " begins no id",
                  "ids are decimal numbers with commas or white space between");
    ids.push_back(id);
    at = after;
  }
}

}  // namespace leafcutter::tools
