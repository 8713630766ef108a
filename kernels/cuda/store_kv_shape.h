// Blocks of the kernels of store_kv.cu.
#pragma once

namespace leafcutter::gpu {

constexpr unsigned kStoreKvThreads = 256;  // of a block at most; a warp does 32 values at a time

}  // namespace leafcutter::gpu
