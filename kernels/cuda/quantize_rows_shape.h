// Blocks of the kernel of quantize_rows.cu.
#pragma once

namespace leafcutter::gpu {

constexpr unsigned kQuantizeThreads = 256;                   // of a block
constexpr unsigned kQuantizeGroups = kQuantizeThreads / 32;  // groups that a block does: a warp each

}  // namespace leafcutter::gpu
