// Time that a command took.
#pragma once

#include <chrono>

namespace leafcutter::tools {

inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace leafcutter::tools
