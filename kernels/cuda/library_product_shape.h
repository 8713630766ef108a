// Blocks of the kernels around a product that a library makes (library_product.cu).
#pragma once

namespace leafcutter::gpu {

// Strips to a matrix: a warp moves 4 lines (of one k, 32 bytes each) of 4 strips, so that it reads and writes 128 bytes at a place.
constexpr unsigned kUnpackThreads = 256, kUnpackStrips = 4, kUnpackLines = 32;

constexpr unsigned kHalveThreads = 256;   // of the block that does a row
constexpr unsigned kFinishThreads = 256;  // of a block: as many values of a row

}  // namespace leafcutter::gpu
