// Blocks of the kernel of rms_norm.cu.
#pragma once

namespace leafcutter::gpu {

constexpr unsigned kRmsNormThreads = 256;  // of the block that does a row

}  // namespace leafcutter::gpu
