// Blocks of the kernel of rotate.cu.
#pragma once

namespace leafcutter::gpu {

constexpr unsigned kRotateThreads = 256;  // of a block; a thread turns one pair of a row

}  // namespace leafcutter::gpu
