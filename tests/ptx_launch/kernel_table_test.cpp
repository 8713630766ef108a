// The table that plans for cards are made with, against the PTX that ships.
#include "offload/kernel_table.h"

#include <doctest/doctest.h>

#include <cmath>
#include <set>
#include <string>

#include "kernels/cuda/launch_shape.h"
#include "tests/support/expect_error.h"
#include "tests/support/ptx_launch/card_costs.h"
#include "tests/support/ptx_launch/fitted_costs.h"

using namespace leafcutter;
using namespace leafcutter::ptx;
using kernels::Layout;

namespace {

// Without the launch.
double busy_seconds(const offload::Card& card, double seconds) { return seconds - card.launch_s; }

void check_near(double value, double expected, double most_off) {
  CAPTURE(value);
  CAPTURE(expected);
  CHECK(std::abs(value - expected) <= most_off * expected);
}

}  // namespace

TEST_CASE("the table of kernels has a row for each entry point, and none besides") {
  std::set<std::string> rows, functions;
  for (const offload::KernelCost& cost : offload::kernel_costs()) CHECK(rows.insert(cost.function).second);
  for (const char* function : gpu::device_functions()) functions.insert(function);
  CHECK(rows == functions);
  test::expect_error([] { offload::kernel_cost("lc_unknown"); }, {"lc_unknown", "card_costs --table"});
}

TEST_CASE("the table of kernels says what the PTX that ships costs, within 2 percent") {
  std::set<std::string> fitted;
  for (const FittedCost& cost : fitted_costs()) {
    CAPTURE(cost.function);
    fitted.insert(cost.function);
    const offload::KernelCost& row = offload::kernel_cost(cost.function);
    check_near(row.block_clocks + row.unit_clocks * cost.units, cost.clocks, 0.02);
    check_near(row.half_block_clocks + row.half_unit_clocks * cost.units, cost.half_block_clocks + cost.half_unit_clocks * cost.units,
               0.02);
    check_near(row.block_clocks + row.unit_clocks * cost.units / 2, cost.block_clocks + cost.unit_clocks * cost.units / 2, 0.02);
  }
  CHECK(fitted.size() == gpu::device_functions().size());
}

TEST_CASE("slow: times of launches that predictions are made of are those of the cost model, within a few percent") {
  for (const CardModel& model : {kGtx1060_6, kGtx1060_3}) {
    const offload::Card& card = offload::find_card(model.name);
    CAPTURE(card.name);
    CHECK(card.multiprocessors == static_cast<int>(model.multiprocessors));
    CHECK(card.clock_hz == model.clock_hz);
    CHECK(card.usable_dram() == model.usable_dram());
    CHECK(card.launch_s == kLaunchSeconds);
    for (const std::uint64_t rows : {1, 160}) {
      CAPTURE(rows);
      offload::AttendLaunch a;
      a.rows = rows;
      a.heads = a.kv_heads = 32;
      a.head_dim = 128;
      a.bias_by_distance = {1};
      check_near(busy_seconds(card, offload::kernel_seconds(a, card, {288, rows * 288})),
                 attend_cost(32, 32, 128, kernels::KvType::f16, rows, 288, true).on(model).busy_seconds(), 0.06);
      offload::RmsNormLaunch norm;
      norm.rows = rows;
      norm.width = norm.x_stride = norm.y_stride = 4096;
      check_near(busy_seconds(card, offload::kernel_seconds(norm, card)), rms_norm_cost(rows, 4096).on(model).busy_seconds(), 0.02);
      offload::QuantizeRowsLaunch quantize;
      quantize.rows = rows;
      quantize.k = quantize.x_stride = 4096;
      check_near(busy_seconds(card, offload::kernel_seconds(quantize, card)), quantize_rows_cost(rows, 4096).on(model).busy_seconds(),
                 0.02);
      offload::GateLaunch gate;
      gate.n = rows * 10240;
      check_near(busy_seconds(card, offload::kernel_seconds(gate, card)), gate_cost(gate.n, gate.gate).on(model).busy_seconds(), 0.02);
    }
  }
  for (const Layout layout : {Layout::q4, Layout::q8, Layout::f16})
    for (const std::uint64_t rows : {1, 2, 3, 8, 24, 40, 64, 160})
      for (const auto& [inputs, rows_out] : {std::pair{700u, 4096u}, std::pair{4096u, 1024u}}) {
        const std::uint64_t k = inputs, outputs = rows_out;
        CAPTURE(static_cast<int>(layout));
        CAPTURE(rows);
        CAPTURE(k);
        offload::ProductLaunch a;
        a.layout = layout;
        a.k = k;
        a.outputs = outputs;
        a.strips = a.outputs / kernels::kStripRows;
        a.rows = rows;
        const auto cost = product_cost(layout, k, outputs, rows);
        for (const CardModel& model : {kGtx1060_6, kGtx1060_3}) {
          const offload::Card& card = offload::find_card(model.name);
          CAPTURE(card.name);
          check_near(busy_seconds(card, offload::kernel_seconds(a, card)), cost.on(model).busy_seconds(), 0.05);
        }
      }
}
