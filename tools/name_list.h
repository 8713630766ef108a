// Names separated by commas.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

namespace leafcutter::tools {

// Empty ones are left out.
inline std::vector<std::string> name_list(const std::string& text) {
  std::vector<std::string> names;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t comma = std::min(text.find(',', at), text.size());
    if (comma > at) names.push_back(text.substr(at, comma - at));
    at = comma + 1;
  }
  return names;
}

}  // namespace leafcutter::tools
