// Chunks from disk straight to where they stay, checked: several reads at once, and meanwhile pages are touched for the first time and bytes are hashed and decoded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <stop_token>

#include "base/file.h"
#include "compress/leaf_index.h"

namespace leafcutter::offload {

struct ResidentChunk {
  std::uint32_t chunk = 0;
  std::span<std::byte> to;  // slot_bytes of the chunk, whole pages
};

// `staging`: where coded chunks are read to; so many of them are under way at once as slots of `staging_slot` bytes fit. progress(bytes done, bytes in all, as stored) is called from several
// threads, one at a time. Throws Error(io | bad_file | cancelled), the first one, after all threads have ended.
void load_chunks(File& file, const compress::LeafIndex& index, std::span<const ResidentChunk> chunks, std::span<std::byte> staging,
                 std::size_t staging_slot, const std::function<void(std::uint64_t, std::uint64_t)>& progress, const std::stop_token& stop);

}  // namespace leafcutter::offload
