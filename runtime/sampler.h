// From logits to a token. Deterministic for a seed on every machine (own random numbers, not the standard library's distributions).
// Order of the filters, as users of llama.cpp expect it: repetition penalty, top-k, top-p, min-p, temperature.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/ranked.h"

namespace leafcutter::runtime {

struct SamplingOptions {
  float temperature = 0.8f;              // 0: the plain arg-max, no penalty, no filters
  std::uint32_t top_k = 40;              // 0: all
  float top_p = 0.95f;                   // 1: all
  float min_p = 0.05f;                   // 0: all
  float repetition_penalty = 1.0f;       // Keskar et al. 2019, over `history`; 1: none
  std::uint32_t repetition_window = 64;  // last ids of history that count; 0: all
  bool temperature_first = false;        // CPM-Live and transformers: temperature before the filters
  std::uint64_t seed = 0;
};

// Throws Error(usage) naming the option and its range.
void validate(const SamplingOptions& options);

// One sequence's sampler. Not thread-safe.
class Sampler {
 public:
  explicit Sampler(const SamplingOptions& options);

  // logits: raw, not changed; ids >= limit are never chosen. history: prompt and generated ids so far.
  std::uint32_t sample(std::span<const float> logits, std::span<const std::uint32_t> history, std::uint32_t limit);

  // How many of the largest logits are enough to sample from; 0: all are needed, since the options change their order or keep more.
  std::uint32_t best_needed() const;
  // What sample() gives for logits whose largest are these, in the order of kernels::top_k: best_needed() of them, or all where those are fewer.
  std::uint32_t sample_best(std::span<const kernels::Ranked> best);

 private:
  std::uint32_t draw(double temperature);  // from candidates_
  void sort_first(std::size_t count);      // at least so many of candidates_
  double random();                         // [0, 1)
  SamplingOptions options_;
  std::uint64_t state_[2];
  std::vector<std::pair<float, std::uint32_t>> candidates_;
  std::size_t sorted_ = 0;           // the likeliest of candidates_ that lie first and in order
  std::vector<std::uint32_t> seen_;  // ids that the penalty is for
};

}  // namespace leafcutter::runtime
