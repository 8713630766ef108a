// What this program is.
#pragma once

#include <string>

namespace leafcutter::tools {

std::string version_text();  // "leafcutter 0.1.0 (commit 1a2b3c4, file format 1, GCC 12.2.0)"

}  // namespace leafcutter::tools
