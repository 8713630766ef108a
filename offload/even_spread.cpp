#include "offload/even_spread.h"

#include <algorithm>

#include "offload/chunk_sizes.h"

namespace leafcutter::offload {

std::uint64_t slots_of(const compress::LeafIndex& index, const std::vector<std::uint32_t>& chunks) {
  std::uint64_t bytes = 0;
  for (const std::uint32_t c : chunks) bytes += slot_bytes(index.chunks[c]);
  return bytes;
}

std::vector<std::uint32_t> spread_evenly(const compress::LeafIndex& index, const std::vector<std::uint32_t>& chunks, std::uint64_t room) {
  const std::uint64_t all = slots_of(index, chunks);
  if (all <= room) return chunks;
  std::vector<bool> stays(chunks.size());
  std::uint64_t passed = 0, kept = 0;
  const auto keep = [&](std::size_t i, std::uint64_t bytes) {
    stays[i] = true;
    kept += bytes;
  };
  const long double share = static_cast<long double>(room) / static_cast<long double>(all);
  for (std::size_t i = 0; i < chunks.size(); i++) {
    const std::uint64_t bytes = slot_bytes(index.chunks[chunks[i]]);
    passed += bytes;
    const auto due = static_cast<std::uint64_t>(share * static_cast<long double>(passed));
    if (kept + bytes <= std::min(due, room)) keep(i, bytes);
  }
  // The loop above stays up to a chunk behind its share; what that leaves goes to whatever still fits.
  for (std::size_t i = chunks.size(); i-- > 0;)
    if (const std::uint64_t bytes = slot_bytes(index.chunks[chunks[i]]); !stays[i] && kept + bytes <= room) keep(i, bytes);
  std::vector<std::uint32_t> chosen;
  for (std::size_t i = 0; i < chunks.size(); i++)
    if (stays[i]) chosen.push_back(chunks[i]);
  return chosen;
}

}  // namespace leafcutter::offload
