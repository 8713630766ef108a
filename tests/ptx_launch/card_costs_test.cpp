// Budgets of the kernels on a GTX 1060 by the cost model (cost_model.h). No card has confirmed them.
#include "tests/support/ptx_launch/card_costs.h"

#include <doctest/doctest.h>

#include <string>

using namespace leafcutter;
using namespace leafcutter::ptx;
using kernels::Layout;

namespace {

// k x outputs of the products of CPM-Ant 10B and 7B, then of 3B, 1B and 300M.
constexpr std::pair<std::uint64_t, std::uint64_t> kShapes[] = {{4096, 4096}, {4096, 10240}, {10240, 4096}, {4096, 3735},
                                                               {3735, 4096}, {2560, 4096},  {4096, 2048},  {700, 4096}};
constexpr CardModel kCards[] = {kGtx1060_6, kGtx1060_3};

}  // namespace

TEST_CASE("products of one row are bound by DRAM alone, without bank conflicts") {
  for (const Layout layout : {Layout::q4, Layout::q8})
    for (const auto& [inputs, rows_out] : kShapes) {
      const std::uint64_t k = inputs, outputs = rows_out;
      CAPTURE(k);
      CAPTURE(outputs);
      const LaunchCost cost = product_cost(layout, k, outputs, 1);
      CHECK(cost.counters().bank_conflicts == 0);
      CHECK(cost.counters().local_requests == 0);
      for (const CardModel& card : kCards) {
        const std::string limit = cost.on(card).limit().name;
        CAPTURE(limit);
        CHECK(cost.on(card).dram_share() >= 0.97);
      }
    }
}

TEST_CASE("a product of one row takes from DRAM what its weights have, once, and most requests fill their sectors") {
  for (const Layout layout : {Layout::q4, Layout::q8}) {
    const LaunchCost cost = product_cost(layout, 4096, 64, 1);  // all of its blocks
    REQUIRE(cost.counters().blocks == cost.run.blocks);
    CHECK(static_cast<double>(cost.counters().dram_bytes()) <= 1.01 * static_cast<double>(cost.run.listed_bytes));
    // Scales and minima of q4 lie in one sector and are loaded one after the other; so do the parts of an activation record. The codes fill theirs.
    CHECK(cost.counters().global_loads.excess_sectors * 5 <= cost.counters().global_loads.sectors);
  }
}

TEST_CASE("products of many rows at 10B's shapes keep dp4a busy, without bank conflicts") {
  for (const Layout layout : {Layout::q4, Layout::q8})
    for (const auto& [inputs, rows_out] : {std::pair{4096u, 4096u}, std::pair{4096u, 10240u}, std::pair{10240u, 4096u}}) {
      const std::uint64_t k = inputs, outputs = rows_out, rows = 512;
      CAPTURE(static_cast<int>(layout));
      CAPTURE(k);
      CAPTURE(outputs);
      const LaunchCost cost = product_cost(layout, k, outputs, rows);
      CHECK(cost.counters().bank_conflicts == 0);
      for (const CardModel& card : kCards) CHECK(share_of_dot_rate(cost, k, outputs, rows, card) >= 0.60);
    }
}

TEST_CASE("attention is bound by DRAM for a row that decodes, and has no bank conflicts") {
  for (const std::uint64_t rows : {1, 160}) {
    const LaunchCost cost = attend_cost(32, 32, 128, kernels::KvType::f16, rows, 288, true);
    CHECK(cost.counters().bank_conflicts == 0);
    if (rows == 1) CHECK(cost.on(kGtx1060_6).dram_share() >= 0.97);
  }
}
