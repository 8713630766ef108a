// How the kernels of kernels/cuda are launched: which entry point, how many blocks of how many threads, how much shared memory. Computed here and nowhere else, from the arguments alone.
//
// A family of kernels is one row of the table in launch_shape.cpp, with a file FAMILY_shape.cpp that knows its blocks and entry points.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/device_launch.h"

namespace leafcutter::gpu {

struct LaunchShape {
  const char* function = "";          // entry point
  std::uint32_t grid[3] = {0, 1, 1};  // no block at all where there is nothing to do: then nothing may be launched
  std::uint32_t threads = 0;
  std::uint32_t shared_bytes = 0;  // dynamic shared memory
  bool empty() const { return grid[0] == 0 || grid[1] == 0 || grid[2] == 0; }
};

// arguments: the struct of the kernel (kernels/device_launch.h). Throws Error{device} for sizes that no launch of the kernel can have.
LaunchShape launch_shape(kernels::DeviceKernel kernel, const void* arguments);

// The entry points of all kernels.
std::vector<const char*> device_functions();

// What every card since Pascal takes.
constexpr std::uint32_t kMostGridX = 0x7fffffff, kMostGridYz = 65535, kMostThreads = 1024, kMostSharedBytes = 48 * 1024;

}  // namespace leafcutter::gpu
