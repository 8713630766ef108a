#include "kernels/prefetch.h"

namespace leafcutter::kernels {

bool needs_software_prefetch() {
  static const bool needs = __builtin_cpu_is("intel") != 0;
  return needs;
}

}  // namespace leafcutter::kernels
