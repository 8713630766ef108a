#include "offload/kernel_table.h"

#include <string>
#include <unordered_map>

#include "base/error.h"
#include "kernels/activation_group.h"
#include "kernels/cuda/product_shape.h"

namespace leafcutter::offload {
namespace {

// Printed by card_costs --table.
constexpr KernelCost kTable[] = {
    {"lc_rms_norm", 0, 128},
    {"lc_quantize_rows", 286, 0},
    {"lc_product_f32_rows1", 2, 1152},
    {"lc_product_f32_rows2", 4, 1280},
    {"lc_product_f32_rows4", 8, 1536},
    {"lc_product_f32_rows8", 16, 2048},
    {"lc_product_f32_tile", 1248, 2496, 720, 1952},
    {"lc_product_f16_rows1", 2, 640},
    {"lc_product_f16_rows2", 4, 768},
    {"lc_product_f16_rows4", 8, 1024},
    {"lc_product_f16_rows8", 16, 1536},
    {"lc_product_f16_tile", 2213, 2514, 688, 1888},
    {"lc_product_bf16_rows1", 2, 640},
    {"lc_product_bf16_rows2", 4, 768},
    {"lc_product_bf16_rows4", 8, 1024},
    {"lc_product_bf16_rows8", 16, 1536},
    {"lc_product_bf16_tile", 2197, 2482, 688, 1888},
    {"lc_product_q8_rows1", 6, 312},
    {"lc_product_q8_rows2", 8, 360},
    {"lc_product_q8_rows4", 12, 456},
    {"lc_product_q8_rows8", 20, 648},
    {"lc_product_q8_tile", 2518, 734.5, 645, 569},
    {"lc_product_q8row_rows1", 6, 304},
    {"lc_product_q8row_rows2", 8, 352},
    {"lc_product_q8row_rows4", 12, 448},
    {"lc_product_q8row_rows8", 20, 640},
    {"lc_product_q8row_tile", 2247, 731.3, 643, 567},
    {"lc_product_q4_rows1", 10, 208},
    {"lc_product_q4_rows2", 12, 256},
    {"lc_product_q4_rows4", 16, 352},
    {"lc_product_q4_rows8", 24, 544},
    {"lc_product_q4_tile", 2530, 812, 645, 613},
    {"lc_product_q8_0_rows1", 2, 320},
    {"lc_product_q8_0_rows2", 4, 368},
    {"lc_product_q8_0_rows4", 8, 464},
    {"lc_product_q8_0_rows8", 16, 656},
    {"lc_product_q8_0_tile", 2483, 732.5, 629, 565},
    {"lc_product_q4_0_rows1", 2, 192},
    {"lc_product_q4_0_rows2", 4, 240},
    {"lc_product_q4_0_rows4", 8, 336},
    {"lc_product_q4_0_rows8", 16, 528},
    {"lc_product_q4_0_tile", 2502, 751.5, 613, 549},
    {"lc_product_q4_1_rows1", 2, 208},
    {"lc_product_q4_1_rows2", 4, 256},
    {"lc_product_q4_1_rows4", 8, 352},
    {"lc_product_q4_1_rows8", 16, 544},
    {"lc_product_q4_1_tile", 2496, 807.5, 621, 605},
    {"lc_rotate", 216, 0},
    {"lc_store_kv_f32", 0, 25.5},
    {"lc_store_kv_f16", 0, 28.75},
    {"lc_store_kv_q8", 0, 56.25},
    {"lc_attend_f32_any_one", 222, 1154},
    {"lc_attend_f32_any_several", 1769, 1160},
    {"lc_attend_f16_64_one", 611, 143.4},
    {"lc_attend_f16_64_several", 1489, 535},
    {"lc_attend_f16_96_one", 604.2, 149.2},
    {"lc_attend_f16_96_several", 1889, 470},
    {"lc_attend_f16_128_one", 86, 130.5},
    {"lc_attend_f16_128_several", 1905, 425.5},
    {"lc_attend_f16_256_one", 294, 129.2},
    {"lc_attend_f16_256_several", 2929, 374.8},
    {"lc_attend_f16_any_one", 222, 321.7},
    {"lc_attend_f16_any_several", 3338, 474.5},
    {"lc_attend_q8_64_one", 655, 215.6},
    {"lc_attend_q8_64_several", 1489, 551},
    {"lc_attend_q8_96_one", 677.2, 203.8},
    {"lc_attend_q8_96_several", 1889, 467.3},
    {"lc_attend_q8_128_one", 687, 145.6},
    {"lc_attend_q8_128_several", 1905, 421.5},
    {"lc_attend_q8_256_one", 777, 124.7},
    {"lc_attend_q8_256_several", 2929, 356.8},
    {"lc_attend_q8_any_one", 737, 228.2},
    {"lc_attend_q8_any_several", 3340, 436.4},
    {"lc_gate_silu", 96, 0},
    {"lc_gate_gelu_erf", 122, 0},
    {"lc_gate_gelu_tanh", 100, 0},
    {"lc_add", 96, 0},
    {"lc_rank", 1716, 305},
    {"lc_unpack_strips", 256, 0},
    {"lc_halve_rows", 1, 80},
    {"lc_finish_rows", 104, 0},
    {"lc_fetch_rows", 102, 0},
};

double turns(std::uint64_t n, std::uint64_t a_turn) {
  const std::uint64_t whole = (n + a_turn - 1) / a_turn;
  return static_cast<double>(whole);
}

double units_of(const ProductLaunch& a) {
  const std::uint64_t groups = kernels::activation_groups(a.k);
  return static_cast<double>(groups) / (a.rows >= gpu::kTileFromRows ? 1 : gpu::kProductPartials);
}

double units_of(const AttendLaunch& a, const SeenKeys& keys) {
  return static_cast<double>(keys.all) / static_cast<double>(a.rows) / 32 * turns(a.head_dim, 32);
}

}  // namespace

std::span<const KernelCost> kernel_costs() { return kTable; }

const KernelCost& kernel_cost(std::string_view function) {
  static const std::unordered_map<std::string_view, const KernelCost*> by_name = [] {
    std::unordered_map<std::string_view, const KernelCost*> map;
    for (const KernelCost& cost : kTable) map.emplace(cost.function, &cost);
    return map;
  }();
  const auto found = by_name.find(function);
  if (found == by_name.end())
    throw Error(ErrorKind::device, std::string(function), "has no row in the table of kernels",
                "add what card_costs --table prints for it");
  return *found->second;
}

double units_of_block(DeviceKernel kernel, const void* arguments, const SeenKeys& keys) {
  switch (kernel) {
    case DeviceKernel::product:
      return units_of(*static_cast<const ProductLaunch*>(arguments));
    case DeviceKernel::attend:
      return units_of(*static_cast<const AttendLaunch*>(arguments), keys);
    case DeviceKernel::rms_norm:
      return turns(static_cast<const RmsNormLaunch*>(arguments)->width, 256);
    case DeviceKernel::store_kv:
      return turns(static_cast<const StoreKvLaunch*>(arguments)->head_dim, 32);
    case DeviceKernel::rank:
      return turns(static_cast<const RankLaunch*>(arguments)->width, 1024);
    case DeviceKernel::halve_rows:
      return turns(static_cast<const HalveRowsLaunch*>(arguments)->k, 256);
    case DeviceKernel::fetch_rows:
    case DeviceKernel::unpack_strips:
    case DeviceKernel::finish_rows:
    case DeviceKernel::quantize_rows:
    case DeviceKernel::gate:
    case DeviceKernel::add:
    case DeviceKernel::rotate:
      return 0;
  }
  return 0;
}

double clocks_of_block(const KernelCost& cost, DeviceKernel kernel, const void* arguments, const SeenKeys& keys) {
  const double units = units_of_block(kernel, arguments, keys), whole = cost.block_clocks + cost.unit_clocks * units;
  if (kernel != DeviceKernel::product) return whole;
  const std::uint64_t rows = static_cast<const ProductLaunch*>(arguments)->rows;
  if (rows < gpu::kTileFromRows || (rows - 1) % gpu::kTileRows >= gpu::kTileRows / 2) return whole;
  const double half = cost.half_block_clocks + cost.half_unit_clocks * units;
  return whole + (half - whole) / turns(rows, gpu::kTileRows);
}

}  // namespace leafcutter::offload
