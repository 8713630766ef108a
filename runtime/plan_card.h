// What a model needs on a card and beside it, for a plan that is made without the card: the buffers of both tiers, KV of each layer, the step programs.
#pragma once

#include <cstdint>
#include <optional>

#include "kernels/kv_rows.h"
#include "offload/card_prediction.h"

namespace leafcutter::runtime {

struct CardOptions {
  std::uint64_t device_budget = 0;  // bytes of device memory, the driver's context in it
  std::uint64_t context_bytes = 0;  // the driver's
  offload::PlanRequest host;        // budget, available, already_charged
  std::uint64_t prompt_tokens = 128, new_tokens = 128, sequences = 1;
  std::uint64_t ctx_size =
      0;  // KV rows a sequence; 0: min(model's, 2048), less where that would take much of the card, never less than prompt and new tokens need
  std::optional<kernels::KvType> kv_type;  // none: f16, f32 for an f32 file
  std::size_t threads = 8;                 // of the host
};

struct CardRequest {
  offload::DeviceRequest request;
  offload::CardWish wish;
  std::uint64_t ctx_size = 0, rows_per_pass = 0;
  kernels::KvType kv_type{};
};

// Throws Error(usage) for a context that is too short for what is asked.
CardRequest card_request(const compress::LeafIndex& index, const CardOptions& options);

}  // namespace leafcutter::runtime
