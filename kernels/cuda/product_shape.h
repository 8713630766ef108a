// Blocks of the product kernels (product_q4.cu, product_q8.cu, product_float.cu), and the order of their sums.
//
// Two kinds of kernels: `rows` kernels do 1, 2, 4 or 8 rows of activations with one strip of 16 outputs a block and are bound by the reading of weights; `tile` kernels do 64 rows with 128 outputs a block
// and are bound by arithmetic. The order of the sums is one and the same, so that the bits of a row do not depend on the other rows nor on the strips of a launch:
//   - k is cut in groups of 32 in every layout. Within a group: quantized layouts sum in integers, without error; float layouts by fused multiply-add over ascending k.
//   - partial p of 16 sums the groups p, p + 16, p + 32, ... in this order;
//   - the total adds up the partials 0, 1, ... 15 in this order.
// In a rows kernel the partials are its lanes; a tile kernel walks through the groups partial by partial.
#pragma once

namespace leafcutter::gpu {

constexpr unsigned kProductPartials = 16;

constexpr unsigned kRowsThreads = 64;   // 4 quads of outputs x 16 partials
constexpr unsigned kRowsMost = 8;       // rows of a rows kernel
constexpr unsigned kTileThreads = 128;  // 8 x 8 sums a thread
constexpr unsigned kTileOutputs = 128;  // 8 strips
constexpr unsigned kTileRows = 64;
// Fewer rows go by eight through rows kernels, whose weights the L2 cache keeps for the next eight. A tile with at most half of its rows does half of the work on them (product_tile.cuh): by the cost model it takes
// about as long as 16 rows by eight (q4 1.1, q8 0.9, f16 1.2 of it), and less than 24.
constexpr unsigned kTileFromRows = 17;

}  // namespace leafcutter::gpu
