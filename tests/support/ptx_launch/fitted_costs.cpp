#include "tests/support/ptx_launch/fitted_costs.h"

#include <algorithm>
#include <array>

#include "kernels/cuda/attend_shape.h"
#include "kernels/cuda/product_shape.h"
#include "offload/kernel_table.h"
#include "tests/support/ptx_launch/card_costs.h"

namespace leafcutter::ptx {
namespace {

using kernels::KvType;
using kernels::Layout;

// A card of one multiprocessor with a clock of one second, and no end of DRAM: seconds are clocks of a block, times the blocks.
constexpr CardModel kOneMultiprocessor{"one multiprocessor", 1, 1, 1e30, 1};

double clocks_of_block(const LaunchCost& cost) { return cost.on(kOneMultiprocessor).busy_seconds() / static_cast<double>(cost.run.blocks); }

// cost(n) of two n, units(n) of a block: the line through both.
template <class CostOf, class UnitsOf>
FittedCost fit(std::array<std::uint64_t, 2> n, CostOf&& cost_of, UnitsOf&& units_of) {
  const LaunchCost small = cost_of(n[0]), large = cost_of(n[1]);
  FittedCost fitted;
  fitted.function = large.run.shape.function;
  fitted.clocks = clocks_of_block(large);
  fitted.units = units_of(n[1]);
  const double more = fitted.units - units_of(n[0]);
  fitted.unit_clocks = more > 0 ? (fitted.clocks - clocks_of_block(small)) / more : 0;
  fitted.block_clocks = fitted.clocks - fitted.unit_clocks * fitted.units;
  return fitted;
}

template <class Launch>
double units_of(const Launch& launch, const offload::SeenKeys& keys = {}) {
  return offload::units_of_block(Launch::kKernel, &launch, keys);
}

FittedCost fit_product(Layout layout, std::uint64_t rows, std::uint64_t outputs) {
  return fit(
      {1024, 2048}, [&](std::uint64_t k) { return product_cost(layout, k, outputs, rows); },
      [&](std::uint64_t k) {
        kernels::ProductLaunch a;
        a.k = k;
        a.rows = rows;
        return units_of(a);
      });
}

FittedCost fit_tile(Layout layout) {
  static_assert(gpu::kTileRows / 2 >= gpu::kTileFromRows);
  FittedCost tile = fit_product(layout, gpu::kTileRows, gpu::kTileOutputs);
  const FittedCost half = fit_product(layout, gpu::kTileRows / 2, gpu::kTileOutputs);
  tile.half_block_clocks = half.block_clocks;
  tile.half_unit_clocks = half.unit_clocks;
  return tile;
}

// With CPM-Ant's bias; without it a block has a little less to do.
FittedCost fit_attend(KvType type, std::uint64_t head_dim, std::uint64_t rows) {
  constexpr std::uint64_t kTurn = std::uint64_t{gpu::kAttendWarps} * gpu::kAttendKeys;
  return fit(
      {kTurn, 2 * kTurn}, [&](std::uint64_t keys) { return attend_cost(1, 1, head_dim, type, rows, keys, true); },
      [&](std::uint64_t keys) {
        kernels::AttendLaunch a;
        a.head_dim = head_dim;
        a.rows = rows;
        return units_of(a, {keys, rows * keys});
      });
}

}  // namespace

std::vector<FittedCost> fitted_costs() {
  std::vector<FittedCost> all;
  const auto no_units = [](std::uint64_t) { return 0.0; };
  all.push_back(fit(
      {4096, 8192}, [](std::uint64_t width) { return rms_norm_cost(1, width); },
      [](std::uint64_t width) {
        kernels::RmsNormLaunch a;
        a.width = width;
        return units_of(a);
      }));
  all.push_back(fit(
      {4096, 4096}, [](std::uint64_t k) { return quantize_rows_cost(1, k); }, no_units));
  for (const Layout layout :
       {Layout::f32, Layout::f16, Layout::bf16, Layout::q8, Layout::q8row, Layout::q4, Layout::q8_0, Layout::q4_0, Layout::q4_1}) {
    for (const std::uint64_t rows : {1, 2, 4, 8}) all.push_back(fit_product(layout, rows, kernels::kStripRows));
    all.push_back(fit_tile(layout));
  }
  all.push_back(fit(
      {8, 8}, [](std::uint64_t heads) { return rotate_cost(1, heads, 128); }, no_units));
  for (const KvType type : {KvType::f32, KvType::f16, KvType::q8})
    all.push_back(fit(
        {128, 256}, [&](std::uint64_t head_dim) { return store_kv_cost(1, 1, head_dim, type); },
        [](std::uint64_t head_dim) {
          kernels::StoreKvLaunch a;
          a.head_dim = head_dim;
          return units_of(a);
        }));
  constexpr std::uint64_t kAnyHeadDim = 192;  // of those that have no kernel of their own
  for (const KvType type : {KvType::f32, KvType::f16, KvType::q8})
    for (const std::uint64_t head_dim : {std::uint64_t{64}, std::uint64_t{96}, std::uint64_t{128}, std::uint64_t{256}, kAnyHeadDim}) {
      if (type == KvType::f32 && head_dim != kAnyHeadDim) continue;
      for (const std::uint64_t rows : {1u, gpu::kMostRowsAlone + gpu::kAttendQueries}) all.push_back(fit_attend(type, head_dim, rows));
    }
  for (const kernels::Gate gate : {kernels::Gate::silu, kernels::Gate::gelu_erf, kernels::Gate::gelu_tanh})
    all.push_back(fit(
        {4096, 4096}, [&](std::uint64_t n) { return gate_cost(n, gate); }, no_units));
  all.push_back(fit(
      {4096, 4096}, [](std::uint64_t n) { return add_cost(n); }, no_units));
  all.push_back(fit(
      {8192, 16384}, [](std::uint64_t width) { return rank_cost(1, width); },
      [](std::uint64_t width) {
        kernels::RankLaunch a;
        a.width = width;
        return units_of(a);
      }));
  all.push_back(fit(
      {1024, 1024}, [](std::uint64_t k) { return unpack_strips_cost(k, 4); }, no_units));
  all.push_back(fit(
      {2048, 4096}, [](std::uint64_t k) { return halve_rows_cost(1, k); },
      [](std::uint64_t k) {
        kernels::HalveRowsLaunch a;
        a.k = k;
        return units_of(a);
      }));
  all.push_back(fit(
      {4096, 4096}, [](std::uint64_t outputs) { return finish_rows_cost(1, outputs); }, no_units));
  all.push_back(fit(
      {4096, 4096}, [](std::uint64_t words) { return fetch_rows_cost(1, words); }, no_units));
  return all;
}

}  // namespace leafcutter::ptx
