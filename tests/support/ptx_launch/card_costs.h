// What single launches of the kernels cost on a card, by the cost model: the embedded PTX is interpreted for some of the blocks, and DRAM moves each listed byte once.
#pragma once

#include <cstdint>

#include "tests/support/ptx/cost_model.h"
#include "tests/support/ptx_launch/ptx_launch.h"

namespace leafcutter::ptx {

struct LaunchCost {
  EmbeddedRun run;
  Cost on(const CardModel& card) const { return cost_of(run.outcome.counters, run.blocks, static_cast<double>(run.listed_bytes), card); }
  const Counters& counters() const { return run.outcome.counters; }
};

LaunchCost product_cost(kernels::Layout layout, std::uint64_t k, std::uint64_t outputs, std::uint64_t rows);
// All rows see the keys 0..visible-1; with CPM-Ant's bias by distance and segment, or without.
LaunchCost attend_cost(std::uint64_t heads, std::uint64_t kv_heads, std::uint64_t head_dim, kernels::KvType type, std::uint64_t rows,
                       std::uint64_t visible, bool biased);
LaunchCost rms_norm_cost(std::uint64_t rows, std::uint64_t width);
LaunchCost quantize_rows_cost(std::uint64_t rows, std::uint64_t k);
LaunchCost gate_cost(std::uint64_t n, kernels::Gate gate);
LaunchCost add_cost(std::uint64_t n);
LaunchCost fetch_rows_cost(std::uint64_t rows, std::uint64_t words);
LaunchCost unpack_strips_cost(std::uint64_t k, std::uint64_t strips);
LaunchCost halve_rows_cost(std::uint64_t rows, std::uint64_t k);
LaunchCost finish_rows_cost(std::uint64_t rows, std::uint64_t outputs);
LaunchCost rotate_cost(std::uint64_t rows, std::uint64_t heads, std::uint64_t head_dim);
LaunchCost store_kv_cost(std::uint64_t rows, std::uint64_t kv_heads, std::uint64_t head_dim, kernels::KvType type);
LaunchCost rank_cost(std::uint64_t rows, std::uint64_t width);  // the largest of each row

// Of a product of quantized weights: the dp4a instructions that its operations need, over those that the card could do in that time.
double share_of_dot_rate(const LaunchCost& cost, std::uint64_t k, std::uint64_t outputs, std::uint64_t rows, const CardModel& card);
// Of attention: two products of f32, over the peak.
double share_of_f32_rate(const LaunchCost& cost, std::uint64_t heads, std::uint64_t head_dim, std::uint64_t rows, std::uint64_t visible,
                         const CardModel& card);

}  // namespace leafcutter::ptx
