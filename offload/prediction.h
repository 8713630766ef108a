// How fast a plan will go: the step program played on the pager's schedule (step_simulator.h) with the rates of this machine. docs/planning.md has the formulas.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "compress/leaf_index.h"
#include "offload/planner.h"
#include "offload/step_program.h"
#include "offload/step_simulator.h"

namespace leafcutter::offload {

// Products with matrices of one layout and input width, all threads.
struct ProductRates {
  kernels::Layout layout{};
  std::uint64_t k = 0;
  double one_row_gb_s = 0;     // weights moved while one row is multiplied
  double many_rows_gop_s = 0;  // with many rows; multiply and add count as two
};

constexpr std::size_t kManyAttentionRows = 8;  // from here on rows share the keys that are read and widened

struct HostRates {
  double memory_gb_s = 0;  // sequential reads by all threads
  double disk_gb_s = 0;    // direct reads, several in flight
  bool disk_assumed = false;
  double read_latency_s = 0;  // of one read of `reads.bytes` that finds the disk idle
  ReadShape reads;            // what this disk wants
  double lookup_s = 0;        // reading a row of an embedding, transfer included
  std::vector<ProductRates> products;
  double attention_gop_s = 0;          // attention of many rows, all threads
  double attention_one_row_gop_s = 0;  // of one row of heads that share the keys they read with no other, from memory
  double meeting_s = 0;   // what a product takes beyond moving its weights: handing it out, pieces that do not come out even, meeting again
  double check_gb_s = 0;  // hashing, one thread
  double decode_gb_s = 0;  // zstd, one thread, bytes that come out
  // While one thread checks, products and checks share cores and memory: the speed of each beside the other, of its own.
  double compute_beside_check = 1, check_beside_compute = 1;
  bool disturbed = false;  // others used the processors while this was measured: it is too slow

  // Of a product that was not measured: the slowest of those that were.
  ProductRates product(kernels::Layout layout, std::uint64_t k) const;
};

// What the products of a step are, each once, nothing measured.
std::vector<ProductRates> products_of(const compress::LeafIndex& index);

// Measures memory, kernels and checks with `threads` threads (half a second and a tenth for each of `products`), and the disk under `file` (at most 256 MiB of it are read; empty or unreadable:
// 1.5 GB/s is assumed). Medians of several passes. Throws Error(out_of_budget) when 256 MiB for it are not to be had.
HostRates measure_host_rates(std::size_t threads, const std::string& file, const std::vector<ProductRates>& products);

// Where no file is there to measure: an ordinary NVMe drive or virtual disk.
void assume_disk(HostRates& rates);

// What one step spends where, and how long it takes.
struct StepPrediction {
  double seconds = 0;
  double disk_seconds = 0, check_seconds = 0, compute_seconds = 0, wait_seconds = 0;
  const char* limit = "";  // "disk", "check", "memory" (products of few rows), "compute" (of many)
};

struct Prediction {
  StepPrediction decode;     // one step of one row
  StepPrediction prefill;    // the whole prompt
  double load_seconds = 0;   // residents
  double tokens_per_s = 0;   // 1 / decode.seconds
  double first_token_s = 0;  // loading and prefill
};

// decode and prefill: the step programs of one row and of a block of the prompt's rows; reads as the pager will do them.
Prediction predict(const compress::LeafIndex& index, const Plan& plan, const StepProgram& decode, const StepProgram& prefill,
                   std::uint64_t prompt_rows, const HostRates& rates, const ReadShape& reads);

}  // namespace leafcutter::offload
