// Prompt in, tokens out: prefill, decode, sampling, stop rules, log-probabilities and timings of one sequence.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "runtime/model.h"
#include "runtime/sampler.h"
#include "runtime/speculation.h"

namespace leafcutter::runtime {

// Habits of the programs that CPM-Ant is known with (CPM-Live's generation, transformers); none: the options as they are.
enum class Preset : std::uint8_t { none, cpm_live, hf };

struct GenerateOptions {
  std::uint64_t max_tokens = 128;
  SamplingOptions sampling;
  std::vector<std::string> stop;  // text that ends the generation and is not given out
  bool ignore_end = false;        // go on past end ids
  std::uint32_t logprobs = 0;     // 0: none are computed; k: the token's and the k best
  std::uint32_t task = 2;         // CPM-Ant: which prompt slots stand in front of a prompt that begins an empty cache
  Preset preset = Preset::
      none;  // cpm_live: only what was generated is penalised, and it begins with neither an end nor a line's end; temperature 0 is the plain arg-max all the same
  std::uint32_t sequence = 0;      // that generates
  std::size_t cached = 0;          // ids of the prompt, from its start, that the sequence's cache holds already; the last one never counts
  SpeculationOptions speculation;  // never changes what comes out, only when
};

struct TokenLogprob {
  std::uint32_t id = 0;
  double logprob = 0;  // log-softmax of the raw logits
};

struct GeneratedToken {
  std::uint64_t index = 0;
  std::uint32_t id = 0;
  std::string text;    // complete characters that this token made available; "" without a tokenizer
  double logprob = 0;  // only with logprobs > 0
  std::vector<TokenLogprob> top;
};

struct GenerationResult {
  std::vector<std::uint32_t> ids;  // generated, the end token included
  std::string text;
  std::string finish_reason;  // "stop" or "length"
  double prefill_seconds = 0, decode_seconds = 0;
  SpeculationReport speculation;
  double tokens_per_second() const {
    return ids.size() > 1 && decode_seconds > 0 ? static_cast<double>(ids.size() - 1) / decode_seconds : 0;
  }
};

// prompt must not be empty; what `cached` leaves of it follows what the sequence's cache holds. Afterwards the cache holds prompt and answer but for the last token. on_token sees each token as it is made. Throws what Model::step throws; Error(cancelled) on a stop request.
GenerationResult generate(Model& model, std::span<const std::uint32_t> prompt, const GenerateOptions& options,
                          const std::function<void(const GeneratedToken&)>& on_token = {}, std::stop_token stop = {});

struct Perplexity {
  double mean_nll = 0;
  double perplexity = 0;
  std::uint64_t tokens = 0;  // scored
};

// As llama.cpp's tool: consecutive windows of `window` ids from an empty cache (CPM-Ant: behind the prompt slots of a task, all ids targets), an incomplete last one dropped, the tokens window/2+1..window-1 of each scored. Throws Error(usage) when there is no whole window.
Perplexity perplexity(Model& model, std::span<const std::uint32_t> ids, std::uint64_t window,
                      const std::function<void(std::uint64_t window, std::uint64_t windows, const Perplexity& so_far)>& progress = {},
                      std::stop_token stop = {}, std::uint32_t task = 2);

}  // namespace leafcutter::runtime
