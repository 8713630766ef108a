// How kernels that walk through weights at the rate of memory fetch what comes next.
#pragma once

namespace leafcutter::kernels {

// Must they ask for bytes some KiB ahead even where little is computed between? True on Intel's processors, whose own look-ahead ends within a page: one row of q4 reads 1.5 times as fast so.
// False on AMD's, which are 7 % faster left alone (docs/benchmarks.md). Only speed depends on it.
bool needs_software_prefetch();

}  // namespace leafcutter::kernels
