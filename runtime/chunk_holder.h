// Chunks of the modules of a step, taken from the pager in order and given back when their last byte has been used.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "compress/leaf_index.h"
#include "offload/pager.h"

namespace leafcutter::runtime {

// After this use of a range of a module's bytes: give back the chunks that end in it, or keep them for the next block of rows, until finish().
enum class AfterUse { give_back, keep };

class ChunkHolder {
 public:
  ChunkHolder(const compress::LeafIndex& index, offload::Pager& pager) : index_(index), pager_(pager) {}

  // Calls use(chunk entry, blob) for each chunk that overlaps bytes [begin, end) of the module's blob, in order, and `settle` whenever what was used so far must be done with: around each chunk
  // that had to come from disk, and at the end. Ranges of a module come in order, unless its chunks are kept.
  template <class Use, class Settle>
  void for_each(const compress::ModuleEntry& module, std::uint64_t begin, std::uint64_t end, AfterUse after, Use&& use, Settle&& settle) {
    for (std::uint32_t c = module.first_chunk; c < module.first_chunk + module.chunk_count; c++) {
      const compress::ChunkEntry& entry = index_.chunks[c];
      const std::uint64_t chunk_end = entry.module_offset + entry.raw_bytes;
      if (chunk_end <= begin) continue;
      if (entry.module_offset >= end) break;
      if (pager_.is_resident(c)) {
        use(entry, pager_.acquire(c));
        continue;
      }
      const bool comes = !find(c);
      if (comes) settle();
      use(entry, hold(module, c));
      if (comes || after == AfterUse::give_back) settle();
      if (chunk_end <= end && after == AfterUse::give_back) give_back(c);
    }
    settle();
  }

  // The module is done with: gives back what is held of it, and takes and gives back what was not used, since the order of the pager is fixed.
  void finish(const compress::ModuleEntry& module) {
    while (!held_.empty()) give_back(held_.front().chunk);
    begin(module);
    for (; next_ < module.first_chunk + module.chunk_count; next_++) {
      if (pager_.is_resident(next_)) continue;
      pager_.acquire(next_);
      pager_.release(next_);
    }
    current_ = nullptr;
  }

  bool is_resident(std::size_t chunk) const { return pager_.is_resident(chunk); }
  // The blob of a chunk that is in memory for good; empty for others.
  std::span<const std::byte> resident(std::size_t chunk) const {
    return is_resident(chunk) ? pager_.acquire(chunk) : std::span<const std::byte>();
  }

  // After an error or a stop: forget what was held and begin the order anew.
  void abandon() {
    held_.clear();
    current_ = nullptr;
    pager_.reset();
  }

 private:
  struct Held {
    std::uint32_t chunk;
    std::span<const std::byte> blob;
  };

  void begin(const compress::ModuleEntry& module) {
    if (current_ != &module) next_ = module.first_chunk;
    current_ = &module;
  }

  const Held* find(std::uint32_t chunk) const {
    const auto at = std::lower_bound(held_.begin(), held_.end(), chunk, [](const Held& h, std::uint32_t c) { return h.chunk < c; });
    return at != held_.end() && at->chunk == chunk ? &*at : nullptr;
  }

  std::span<const std::byte> hold(const compress::ModuleEntry& module, std::uint32_t chunk) {
    begin(module);
    for (; next_ <= chunk; next_++)
      if (!pager_.is_resident(next_)) held_.push_back({next_, pager_.acquire(next_)});
    return find(chunk)->blob;
  }

  void give_back(std::uint32_t chunk) {
    std::erase_if(held_, [&](const Held& held) { return held.chunk == chunk; });
    pager_.release(chunk);
  }

  const compress::LeafIndex& index_;
  offload::Pager& pager_;
  const compress::ModuleEntry* current_ = nullptr;
  std::uint32_t next_ = 0;  // of the current module, the first chunk that was not taken yet
  std::vector<Held> held_;  // streamed ones, in order
};

}  // namespace leafcutter::runtime
