// How likely a model finds given answers to a prompt: options are rows of few steps and share the prompt's keys and values.
#pragma once

#include <cstdint>
#include <span>
#include <stop_token>
#include <vector>

#include "runtime/model.h"

namespace leafcutter::runtime {

struct OptionScore {
  double logprob = 0;          // of all its ids
  std::vector<double> tokens;  // of each: log-softmax of the raw logits
};

using Ids = std::vector<std::uint32_t>;

// Sets what a model needs to be loaded with to score `options` behind a prompt of `positions` (slots included).
void plan_for_score(LoadOptions& load, std::span<const Ids> options, std::uint64_t positions);

// The model was loaded for these options or longer ones. `task`: as GenerateOptions. Neither the prompt nor an option may be empty.
std::vector<OptionScore> score_options(Model& model, std::span<const std::uint32_t> prompt, std::span<const Ids> options,
                                       std::uint32_t task = 2, std::stop_token stop = {});

}  // namespace leafcutter::runtime
