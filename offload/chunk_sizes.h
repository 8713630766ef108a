// What a chunk takes up on disk and in memory.
#pragma once

#include <algorithm>
#include <cstddef>

#include "base/checked.h"
#include "compress/leaf_index.h"

namespace leafcutter::offload {

// Bytes that a read of the chunk brings: whole pages, as direct reads want it.
inline std::size_t stored_pages(const compress::ChunkEntry& chunk) {
  return static_cast<std::size_t>(round_up(chunk.stored_bytes, compress::kPage));
}

// Bytes that the chunk holds in the arena or the ring: its blob, in whole pages since a read fills whole pages.
inline std::size_t slot_bytes(const compress::ChunkEntry& chunk) {
  return static_cast<std::size_t>(round_up(std::max(chunk.raw_bytes, chunk.stored_bytes), compress::kPage));
}

// Bytes that would take as long to hash once as checking the chunk: a coded one has two hashes and is decoded.
inline double check_bytes(const compress::ChunkEntry& chunk) {
  return static_cast<double>(chunk.raw_bytes) * (chunk.codec == compress::Codec::none ? 1 : 3);
}

}  // namespace leafcutter::offload
