// What a card's kernels and the host's work take, by the rows of the card table: one set of formulas for the simulator's programs and for the device that plays a card.
#pragma once

#include <cstdint>

#include "offload/card_table.h"

namespace leafcutter::offload {

// Bytes moved to do it, and operations of all rows; multiply and add count as two.
struct CardWork {
  double bytes = 0, int8_operations = 0, f32_operations = 0;
};

// On the card, beside what a launch takes: moving or computing, whichever is longer.
double card_seconds(const CardWork& work, const Card& card);
// On the host, with all of its memory to itself, beside the meeting of its threads. Products; attention.
double host_product_seconds(const CardWork& work, const CardHost& host);
double host_attention_seconds(double kv_bytes, double operations, const CardHost& host);
// Between two steps: each logit is looked at a few times on one thread.
double sampling_seconds(std::uint64_t logits);

}  // namespace leafcutter::offload
