// card_costs: what the kernels of this program cost on a GTX 1060, by the model of tests/support/ptx/cost_model.h. Nothing was measured on a card.
// card_costs --table: the rows of offload/kernel_table.cpp.
#include "tests/support/ptx_launch/card_costs.h"

#include <cstdio>
#include <exception>
#include <set>
#include <string_view>
#include <utility>

#include "tests/support/ptx_launch/fitted_costs.h"

using namespace leafcutter;
using namespace leafcutter::ptx;

namespace {

struct Size {
  const char* name;
  std::uint64_t dim, heads, head_dim, ff_width;
};
constexpr Size kSizes[] = {
    {"10b and 7b", 4096, 32, 128, 10240}, {"3b", 4096, 20, 128, 3735}, {"1b", 4096, 16, 128, 700}, {"300m", 4096, 4, 128, 350}};

// share_of_rate: on a card; `of` what rate.
template <class Share>
void print(const char* what, const LaunchCost& cost, Share share_of_rate, const char* of) {
  for (const CardModel& card : {kGtx1060_6, kGtx1060_3}) {
    const Cost c = cost.on(card);
    const Counters& n = cost.counters();
    std::printf(
        "%-34s %-12s %8.1f us  %5.1f %% of DRAM's limit  %5.1f sectors a request, %llu too many, %llu bank conflicts, %4.1f %% divergent; "
        "limit: %s",
        what, card.name, 1e6 * c.busy_seconds(), 100 * c.dram_share(), n.global_loads.sectors_per_request(),
        static_cast<unsigned long long>(n.global_loads.excess_sectors), static_cast<unsigned long long>(n.bank_conflicts),
        100.0 * static_cast<double>(n.divergent) / static_cast<double>(n.warp_instructions), c.limit().name);
    if (of != nullptr) std::printf("; %.1f %% of %s", 100 * share_of_rate(card), of);
    std::printf("\n");
    for (const Cost::Part& part : c.parts)
      if (part.seconds > 0.3 * c.busy_seconds()) std::printf("      %-34s %8.1f us\n", part.name, 1e6 * part.seconds);
  }
}

void products(const Size& size, kernels::Layout layout, const char* format, std::uint64_t rows) {
  const std::uint64_t width = size.heads * size.head_dim;
  const std::set<std::pair<std::uint64_t, std::uint64_t>> shapes = {
      {size.dim, width}, {width, size.dim}, {size.dim, size.ff_width}, {size.ff_width, size.dim}};
  for (const auto& [k, outputs] : shapes) {
    char what[80];
    std::snprintf(what, sizeof what, "%s %s %llux%llu, %llu rows", size.name, format, static_cast<unsigned long long>(k),
                  static_cast<unsigned long long>(outputs), static_cast<unsigned long long>(rows));
    const LaunchCost cost = product_cost(layout, k, outputs, rows);
    print(
        what, cost, [&, k = k, outputs = outputs](const CardModel& card) { return share_of_dot_rate(cost, k, outputs, rows, card); },
        "dp4a's rate");
  }
}

void print_table() {
  for (const FittedCost& cost : fitted_costs()) {
    std::printf("    {\"%s\", %.4g, %.4g", cost.function.c_str(), cost.block_clocks, cost.unit_clocks);
    if (cost.half_unit_clocks > 0) std::printf(", %.4g, %.4g", cost.half_block_clocks, cost.half_unit_clocks);
    std::printf("},\n");
  }
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc == 2 && std::string_view(argv[1]) == "--table") {
    print_table();
    return 0;
  }
  if (argc > 1) {
    std::fprintf(stderr, "usage: card_costs [--table]\n");
    return 2;
  }
  std::printf("a launch itself takes %.0f us more (assumed)\n", 1e6 * kLaunchSeconds);
  for (const Size& size : kSizes)
    for (const std::uint64_t rows : {1, 128, 160, 192, 256, 512}) {
      products(size, kernels::Layout::q4, "q4", rows);
      products(size, kernels::Layout::q8, "q8", rows);
    }
  for (const std::uint64_t rows : {std::uint64_t{1}, std::uint64_t{160}}) {
    const auto none = [](const CardModel&) { return 0.0; };
    const LaunchCost cost = attend_cost(32, 32, 128, kernels::KvType::f16, rows, 288, true);
    print(
        rows == 1 ? "attend, 1 row, 288 keys" : "attend, 160 rows, 288 keys", cost,
        [&](const CardModel& card) { return share_of_f32_rate(cost, 32, 128, rows, 288, card); }, "f32's rate");
    print("rms_norm", rms_norm_cost(rows, 4096), none, nullptr);
    print("quantize_rows", quantize_rows_cost(rows, 4096), none, nullptr);
    print("gate", gate_cost(rows * 10240, kernels::Gate::gelu_erf), none, nullptr);
    print("add", add_cost(rows * 4096), none, nullptr);
  }
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "card_costs: %s\n", e.what());
  return 1;
}
