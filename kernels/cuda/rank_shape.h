// Blocks of the kernel of rank.cu.
#pragma once

namespace leafcutter::gpu {

constexpr unsigned kRankThreads = 1024;  // of the block that does a row

}  // namespace leafcutter::gpu
