// The rows of offload/kernel_table.h, anew from the PTX: two launches of each kernel that differ in the units of work of a block.
#pragma once

#include <string>
#include <vector>

namespace leafcutter::ptx {

struct FittedCost {
  std::string function;
  double block_clocks = 0, unit_clocks = 0, half_block_clocks = 0, half_unit_clocks = 0;
  double clocks = 0;  // of a block of the larger launch
  double units = 0;   // that it has
};

// Of every entry point, in the order in which the launches are tried.
std::vector<FittedCost> fitted_costs();

}  // namespace leafcutter::ptx
