#include "kernels/cuda/product_shape.h"

#include <string>

#include "base/error.h"
#include "kernels/cuda/launch_family.h"

namespace leafcutter::gpu {
namespace {

// By layout, in the order of Layout; of each: for 1, 2, 4, 8 rows, and the tile.
constexpr unsigned kKinds = 5, kTile = 4;
// clang-format off
constexpr const char* kFunctions[] = {
    "lc_product_f32_rows1", "lc_product_f32_rows2", "lc_product_f32_rows4", "lc_product_f32_rows8", "lc_product_f32_tile",
    "lc_product_f16_rows1", "lc_product_f16_rows2", "lc_product_f16_rows4", "lc_product_f16_rows8", "lc_product_f16_tile",
    "lc_product_bf16_rows1", "lc_product_bf16_rows2", "lc_product_bf16_rows4", "lc_product_bf16_rows8", "lc_product_bf16_tile",
    "lc_product_q8_rows1", "lc_product_q8_rows2", "lc_product_q8_rows4", "lc_product_q8_rows8", "lc_product_q8_tile",
    "lc_product_q8row_rows1", "lc_product_q8row_rows2", "lc_product_q8row_rows4", "lc_product_q8row_rows8", "lc_product_q8row_tile",
    "lc_product_q4_rows1", "lc_product_q4_rows2", "lc_product_q4_rows4", "lc_product_q4_rows8", "lc_product_q4_tile",
    "lc_product_q8_0_rows1", "lc_product_q8_0_rows2", "lc_product_q8_0_rows4", "lc_product_q8_0_rows8", "lc_product_q8_0_tile",
    "lc_product_q4_0_rows1", "lc_product_q4_0_rows2", "lc_product_q4_0_rows4", "lc_product_q4_0_rows8", "lc_product_q4_0_tile",
    "lc_product_q4_1_rows1", "lc_product_q4_1_rows2", "lc_product_q4_1_rows4", "lc_product_q4_1_rows8", "lc_product_q4_1_tile",
};
// clang-format on

LaunchShape shape(const kernels::ProductLaunch& a) {
  constexpr auto kFirst = static_cast<unsigned>(kernels::Layout::f32), kLast = static_cast<unsigned>(kernels::Layout::q4_1);
  static_assert(sizeof kFunctions / sizeof kFunctions[0] == (kLast - kFirst + 1) * kKinds);
  const auto layout = static_cast<unsigned>(a.layout);
  if (layout < kFirst || layout > kLast || a.k == 0)
    throw Error(ErrorKind::device, "product",
                "expected a layout of " + std::to_string(kFirst) + " to " + std::to_string(kLast) +
                    " and an input of at least one value, found layout " + std::to_string(layout) + ", k = " + std::to_string(a.k),
                "compress the model again, or use --device cpu");
  const char* const* functions = kFunctions + (layout - kFirst) * kKinds;

  const bool tile = a.rows >= kTileFromRows;
  const std::uint64_t rows = tile ? kTileRows : a.rows > 4 ? 8 : a.rows > 2 ? 4 : a.rows == 2 ? 2 : 1;
  const std::uint64_t strips = tile ? kTileOutputs / kernels::kStripRows : 1;
  const char* function = functions[tile ? kTile : rows == 8 ? 3 : rows == 4 ? 2 : rows - 1];
  // Blocks of rows are counted before the product of both, so that it cannot overflow.
  const std::uint64_t row_blocks = grid_for(function, a.rows, rows), strip_blocks = grid_for(function, a.strips, strips);
  return {function, {grid_for(function, row_blocks * strip_blocks, 1), 1, 1}, tile ? kTileThreads : kRowsThreads, 0};
}

}  // namespace

constinit const LaunchFamily kProductFamily = launch_family<kernels::ProductLaunch, shape>(kFunctions);

}  // namespace leafcutter::gpu
