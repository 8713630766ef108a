// One of the largest of a row of values: plain data, for host and device code alike.
#pragma once

#include <cstdint>

namespace leafcutter::kernels {

struct Ranked {
  std::uint32_t index;
  float value;
};

}  // namespace leafcutter::kernels
