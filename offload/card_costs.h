// What a card's kernels and the host's work take, by the rows of the card table and of the kernel table: one set of formulas for the simulator's programs and for the device that plays a card.
#pragma once

#include <cstdint>

#include "offload/card_table.h"
#include "offload/device_kernels.h"

namespace leafcutter::offload {

// Keys that the rows of an attention launch see: the row which sees the most, and all rows added up.
struct SeenKeys {
  std::uint64_t most = 0, all = 0;
};

// Of a launch with these arguments, the launch itself in it: moving what it reads and writes, once, or what its blocks keep a multiprocessor busy with, whichever is longer. Addresses do not matter; keys are for attention alone.
// Nothing where there is nothing to launch. Throws Error{device} where there is no such launch.
double kernel_seconds(DeviceKernel kernel, const void* arguments, const Card& card, const SeenKeys& keys = {});
template <class Launch>
double kernel_seconds(const Launch& launch, const Card& card, const SeenKeys& keys = {}) {
  return kernel_seconds(Launch::kKernel, &launch, card, keys);
}
// Of a copy within the card's memory.
double copy_seconds(std::uint64_t bytes, const Card& card);

// Bytes of weights that are moved, and operations of all rows; multiply and add count as two.
struct ProductWork {
  double bytes = 0, int8_operations = 0, f32_operations = 0;
};

// Keys and values that are read, operations of all rows. Few rows (prediction.h) do not share what it costs to widen keys.
struct AttentionWork {
  double kv_bytes = 0, operations = 0;
  std::uint64_t rows = 0;
};

// On the host, with all of its memory to itself, beside the meeting of its threads.
double host_product_seconds(const ProductWork& work, const CardHost& host);
double host_attention_seconds(const AttentionWork& work, const CardHost& host);
// Between two steps: each logit is looked at a few times on one thread.
double sampling_seconds(std::uint64_t logits);

}  // namespace leafcutter::offload
