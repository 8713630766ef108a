// Beam search in the two flavours that CPM-Ant is known with. Beams are rows of one step and share the keys and values of what they have in common.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <stop_token>

#include "runtime/generate.h"

namespace leafcutter::runtime {

struct BeamOptions {
  std::uint32_t beams = 3;
  std::uint64_t max_tokens = 128;
  Preset preset = Preset::hf;
  float repetition_penalty = 1.0f;
  std::uint32_t repetition_window = 0;  // last ids that count; 0: all
  bool ignore_end = false;              // end tokens are tokens like others
  std::uint32_t logprobs = 0;           // as GenerateOptions
  std::uint32_t task = 2;               // as GenerateOptions
};

// Sets what a model needs to be loaded with for a search behind a prompt of `positions` (slots included).
void plan_for_beams(LoadOptions& load, const BeamOptions& options, std::uint64_t positions);

// From an empty cache, best hypothesis only; on_token sees its tokens when it is found.
//
// cpm_live: logits are penalised (ids generated so far, as a set), then log-softmax; the first token is neither an end nor a line's end; a hypothesis that ends has sum / tokens, the end token not
// counted, and the search ends when as many as beams are there and the worst is at least as good as the best running sum / tokens; it may give max_tokens + 1 tokens.
// hf: log-softmax, then penalty over prompt and answer; only the best `beams` candidates may end, by an end token, which counts as one of the length, or at max_tokens; the search is over when no running beam is better than the worst hypothesis.
GenerationResult beam_search(Model& model, std::span<const std::uint32_t> prompt, const BeamOptions& options,
                             const std::function<void(const GeneratedToken&)>& on_token = {}, std::stop_token stop = {});

}  // namespace leafcutter::runtime
