// Values of several words, for port.h.
#pragma once

namespace leafcutter::gpu {

struct alignas(8) U2 {
  unsigned x, y;
};
struct alignas(16) U4 {
  unsigned x, y, z, w;
};
struct alignas(16) F4 {
  float x, y, z, w;
};

}  // namespace leafcutter::gpu
