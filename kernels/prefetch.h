// How kernels that walk through weights at the rate of memory fetch what comes next.
#pragma once

namespace leafcutter::kernels {

// Must they ask for bytes some KiB ahead even where little is computed between? True on Intel's processors, whose own look-ahead ends within a page: one row of q4 reads 1.5 times as fast so.
// False on AMD's, which are 7 % faster left alone (docs/benchmarks.md). Only speed depends on it.
bool needs_software_prefetch();

// Ask for the line at `at` in the first- or second-level cache; any address is fine. Not the compiler's own intrinsic, which g++ 12 removes together with the loop around it where that loop does nothing else.
inline void prefetch_first_level(const void* at) { asm volatile("prefetcht0 %0" : : "m"(*static_cast<const char*>(at))); }
inline void prefetch_second_level(const void* at) { asm volatile("prefetcht1 %0" : : "m"(*static_cast<const char*>(at))); }

}  // namespace leafcutter::kernels
