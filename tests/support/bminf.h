// BMInf's schedule rebuilt from its description: whole layers, residents spread evenly, two buffers, no look-ahead over the end of a step.
#pragma once

#include "offload/card_simulator.h"

namespace leafcutter::test {

// Layer i of n is streamed where floor((i + 1) * streamed / n) rises.
inline offload::CardStep bminf_step(std::size_t layers, std::size_t streamed, double layer_bytes, double kernel_seconds) {
  offload::CardStep step;
  step.look_ahead_over_steps = false;
  const auto bytes = static_cast<std::size_t>(layer_bytes);
  step.card_ring_bytes = 2 * bytes;
  for (std::size_t i = 0; i < layers; i++) {
    offload::CardStage stage;
    const bool copied = (i + 1) * streamed / layers > i * streamed / layers;
    stage.card.push_back({kernel_seconds, copied ? step.copies.size() : offload::kNone});
    if (copied) {
      step.copies.push_back({bytes, bytes, false});
      step.copy_source.push_back(offload::kNone);
    }
    step.stages.push_back(stage);
  }
  offload::CardStage end;
  end.host.push_back({});
  step.stages.push_back(end);
  return step;
}

}  // namespace leafcutter::test
