// How fast a plan will go, from what its steps move and compute and what the machine does: every resource works at its own rate, the slowest one is the limit.
#pragma once

#include <cstdint>
#include <string>

#include "compress/leaf_index.h"
#include "offload/planner.h"
#include "offload/step_program.h"

namespace leafcutter::offload {

struct HostRates {
  double memory_gb_s = 0;  // sequential reads by all threads
  double int8_gop_s = 0;   // the product kernels with many rows, all threads; multiply and add count as two
  double disk_gb_s = 0;    // direct reads, several in flight
  bool disk_assumed = false;
};

// Measures memory and kernels (about 0.3 s) with `threads` threads, and the disk under `file` (at most 256 MiB of it are read; empty or unreadable: 1.5 GB/s is assumed).
HostRates measure_host_rates(std::size_t threads, const std::string& file);

struct Prediction {
  double tokens_per_s = 0;   // decode, one sequence
  double first_token_s = 0;  // loading residents and one prefill of the prompt
  std::string limit;         // of decode: "disk", "memory" or "compute"
};

// decode and prefill: the step programs of one row and of the prompt's rows.
Prediction predict(const compress::LeafIndex& index, const Plan& plan, const StepProgram& decode, const StepProgram& prefill,
                   std::uint64_t prompt_rows, const HostRates& rates);

}  // namespace leafcutter::offload
