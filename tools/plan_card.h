// `plan MODEL --card NAME`: what a machine with that card would do, answered from the rows of the card table alone. Nothing of this machine is asked, no file is needed.
#pragma once

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "runtime/plan_card.h"
#include "tools/load_flags.h"
#include "tools/plan_estimate.h"
#include "tools/planned_index.h"

namespace leafcutter::tools {

struct CardFlags {
  std::string card;  // empty: a plan for this machine
  std::string host = "desktop-ddr4";
  std::optional<SizeText> device_memory;
};

void add_card_flags(CLI::App& app, CardFlags& flags);
// Throws Error(usage) for names that the tables have not.
void check_card_flags(const CardFlags& flags);

// A plan for one card.
struct CardEstimate {
  std::string what, card, host;
  runtime::CardRequest request;
  offload::CardPrediction prediction;
  std::uint64_t batch = 1;
  std::uint64_t file_bytes = 0;
  const offload::CardCandidate& best() const { return prediction.best(); }
  double tokens_per_s() const { return static_cast<double>(batch) * best().tokens_per_s(); }
};

// --memory, --device-memory, --ctx-size, --kv-type and --link of the flags go before what the rows of card and host say. Throws Error(usage | out_of_budget).
CardEstimate estimate_on_card(const PlannedIndex& model, const CardFlags& card, const LoadFlags& load, const Wish& wish);

nlohmann::ordered_json card_json(const CardEstimate& estimate);
std::string card_text(const CardEstimate& estimate);

// The one thing that helps most, or nothing where nothing helps by 5 percent: "faster by 2.10x: --format q4".
std::string card_advice(const CardEstimate& now, const std::string& model, const std::string& format, const CardFlags& card,
                        const LoadFlags& load, const Wish& wish);

}  // namespace leafcutter::tools
