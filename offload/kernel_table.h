// What a block of threads of each kernel costs, by the model of a GTX 1060 in tests/support/ptx/cost_model.h: the PTX that ships was interpreted, and no card has confirmed it. `card_costs --table` prints the rows;
// tests/ptx_launch/kernel_table_test.cpp holds them against the PTX.
#pragma once

#include <span>
#include <string_view>

#include "offload/card_costs.h"

namespace leafcutter::offload {

// Clocks for which a block keeps its multiprocessor busy when nothing waits for DRAM: block + unit for each of its units of work.
struct KernelCost {
  const char* function;  // entry point
  double block_clocks, unit_clocks;
  double half_block_clocks = 0, half_unit_clocks = 0;  // of a product's tile with no more than half of its rows
};

// A row for each entry point of kernels/cuda.
std::span<const KernelCost> kernel_costs();
// Throws Error{device} for a name that there is not.
const KernelCost& kernel_cost(std::string_view function);

// The table's multiprocessor has so many lanes for dp4a. One with fewer is taken to need as much longer, for all that it does.
constexpr int kTableDotLanes = 128;

// Units of work of a block: turns of its loops, on average over its warps. Products: a group of 32 k for tiles, 16 of them for few rows. Attention: 32 keys times 32 dimensions. rms_norm: 256 values. store_kv: 32 values. rank:
// 1024 values. halve_rows: 256 values, read twice. The others have none.
double units_of_block(DeviceKernel kernel, const void* arguments, const SeenKeys& keys);

// On average over the blocks of a launch, which `cost` is the row of.
double clocks_of_block(const KernelCost& cost, DeviceKernel kernel, const void* arguments, const SeenKeys& keys);

}  // namespace leafcutter::offload
