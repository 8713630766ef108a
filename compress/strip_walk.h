// Which strips of which tensors a chunk holds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "compress/leaf_index.h"

namespace leafcutter::compress {

struct StripRange {
  std::size_t tensor = 0;  // index into tensors
  std::uint64_t begin = 0, end = 0;
  std::uint64_t offset = 0;  // of strip `begin` in the module's blob
};

// Tensors that a part of a module's blob touches, in order; of a module in strips, each with its whole strips. `index` is checked.
std::vector<StripRange> strips_of_chunk(const LeafIndex& index, const ChunkEntry& chunk);

// Position of a strip's hash among embedding_tile_hashes; tensor belongs to the embedding module.
std::uint64_t tile_number(const LeafIndex& index, std::size_t tensor, std::uint64_t strip);

// Strips of all tensors of the embedding module.
std::uint64_t tile_count(const LeafIndex& index);

}  // namespace leafcutter::compress
