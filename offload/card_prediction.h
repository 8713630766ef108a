// The best placement for a card, found by playing each candidate (card_simulator.h), and what the others would have given.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "offload/card_mix.h"
#include "offload/card_program.h"

namespace leafcutter::offload {

// The work of one answer: a step of decoding, a pass of the prompt, how many passes the prompt takes.
struct CardWish {
  StepProgram decode, prefill;
  std::uint64_t prefill_passes = 1;
};

struct CardCandidate {
  std::string strategy;  // "streaming", "static split", "mixed"
  DevicePlan plan;
  double host_share = 0, prefill_host_share = 0;  // of what is not on the card, computed by the host
  CardStepTime decode;
  CardStepTime prefill;       // one pass, from empty rings
  double prompt_seconds = 0;  // all passes
  double load_seconds = 0;    // residents of both tiers from disk
  double tokens_per_s() const { return 1 / decode.seconds; }
  double first_token_s() const { return load_seconds + prompt_seconds; }
};

// streaming: residents spread evenly, everything else is copied. static split: whole layers on the card, the host computes the others. mixed: of each product so
// much stays on the card, is copied and is the host's that a step is shortest (card_mix.h); the bounds, all on the card, all copied and all the host's, are candidates too.
struct CardPrediction {
  std::vector<CardCandidate> strategies;  // those three, in this order; the ones that fit
  std::size_t chosen = 0;                 // no slower in a step than any of them; of equals the one that begins to answer first
  const CardCandidate& best() const { return strategies[chosen]; }
};

// Throws Error(out_of_budget) when none fits. Deterministic.
CardPrediction predict_card(const compress::LeafIndex& index, const DeviceRequest& request, const CardWish& wish, const DeviceRates& rates);

}  // namespace leafcutter::offload
