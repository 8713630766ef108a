// Blocks of the kernels that do each value by itself (add.cu, gate.cu).
#pragma once

namespace leafcutter::gpu {

constexpr unsigned kElementwiseThreads = 256;  // of a block; a thread does one value

}  // namespace leafcutter::gpu
