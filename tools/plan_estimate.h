// A plan and what it promises: placement, time of a step and of the first token, and what would make it faster.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "offload/prediction.h"
#include "runtime/model.h"

namespace leafcutter::tools {

// What is asked of the model: a prompt, an answer, and how many sequences decode together.
struct Wish {
  std::uint64_t prompt_tokens = 128;
  std::uint64_t new_tokens = 128;
  std::uint64_t batch = 1;
};

// The options with which `run` would load the model for this wish.
runtime::LoadOptions options_for(const compress::LeafIndex& index, runtime::LoadOptions options, const Wish& wish);

struct Estimate {
  runtime::PlannedModel planned;
  offload::Prediction prediction;
  double tokens_per_s() const { return static_cast<double>(batch) * prediction.tokens_per_s; }
  std::uint64_t batch = 1;
};

// Throws Error(out_of_budget) as load() would. Nothing is measured here.
Estimate estimate(const compress::LeafIndex& index, const runtime::LoadOptions& options, const Wish& wish, const offload::HostMemory& host,
                  std::uint64_t already_charged, const offload::HostRates& rates);

// How many rows go through a module at a time, and how many through all modules in one pass over the weights.
struct Rows {
  std::uint64_t per_step = 1, per_pass = 1;
};

// The same for a plan that exists.
offload::Prediction predict_plan(const compress::LeafIndex& index, const offload::Plan& plan, const Rows& rows, kernels::KvType kv_type,
                                 const Wish& wish, const offload::HostRates& rates, const offload::ReadShape& reads);

// One thing to change, and what it brings; the best first. Only what brings at least 5 percent.
struct Advice {
  std::string change;
  double gain = 1;  // tokens a second after it, of those before
};
std::vector<Advice> advice(const compress::LeafIndex& index, const runtime::LoadOptions& options, const Wish& wish,
                           const offload::HostMemory& host, std::uint64_t already_charged, const offload::HostRates& rates,
                           const Estimate& now);

nlohmann::ordered_json step_json(const offload::StepPrediction& step);

}  // namespace leafcutter::tools
