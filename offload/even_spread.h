// Which of some chunks stay when only a share of them can: evenly in the order given, so that of each stretch of a step the same share stays.
#pragma once

#include <cstdint>
#include <vector>

#include "compress/leaf_index.h"

namespace leafcutter::offload {

// Bytes of their slots.
std::uint64_t slots_of(const compress::LeafIndex& index, const std::vector<std::uint32_t>& chunks);

// Of `chunks` those that stay in `room` bytes of slots, in their order; what rounding leaves is filled from the end.
std::vector<std::uint32_t> spread_evenly(const compress::LeafIndex& index, const std::vector<std::uint32_t>& chunks, std::uint64_t room);

}  // namespace leafcutter::offload
