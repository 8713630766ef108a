// Launches of the kernels that lie in this program as PTX, run by the interpreter as a card would be told to run them: grids by launch_shape(), memory by what the launch is listed to read and write.
#pragma once

#include <cstdint>

#include "kernels/cuda/launch_shape.h"
#include "offload/device_kernels.h"
#include "tests/support/ptx/interpreter.h"

namespace leafcutter::ptx {

// Read once. Throws Error where the PTX cannot be read, std::runtime_error where the program was built without.
const Module& embedded_module();

struct EmbeddedRun {
  gpu::LaunchShape shape;
  std::uint64_t blocks = 0;        // of the whole launch
  std::uint64_t listed_bytes = 0;  // of all that the launch reads and writes
  Outcome outcome;
};

// Runs all blocks, or about `most_blocks` of them, evenly spread (0: all), so many `side_by_side`. Addresses are the host's. An access outside of device_kernel(kernel).accesses, of what a table of attention rows points to too, is an
// Error, and so is a write to what is listed as read only.
EmbeddedRun run_embedded(kernels::DeviceKernel kernel, const void* arguments, std::uint64_t most_blocks = 0,
                         std::uint64_t side_by_side = 1);

template <class Launch>
EmbeddedRun run_embedded(const Launch& launch, std::uint64_t most_blocks = 0, std::uint64_t side_by_side = 1) {
  return run_embedded(Launch::kKernel, &launch, most_blocks, side_by_side);
}

}  // namespace leafcutter::ptx
