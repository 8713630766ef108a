// Token ids as people write them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace leafcutter::tools {

// "6,9802, 14962" or with white space between, brackets around are allowed. Throws Error(usage) naming `where` and the place of what is no id.
std::vector<std::uint32_t> parse_ids(const std::string& text, const std::string& where);

}  // namespace leafcutter::tools
