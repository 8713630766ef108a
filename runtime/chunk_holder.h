// Chunks of the modules of a step, taken from the pager in order and given back when their last byte has been used.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "compress/leaf_index.h"
#include "offload/pager.h"

namespace leafcutter::runtime {

class ChunkHolder {
 public:
  ChunkHolder(const compress::LeafIndex& index, offload::Pager& pager) : index_(index), pager_(pager) {}

  // Calls use(chunk entry, blob) for each chunk that overlaps bytes [begin, end) of the module's blob, in order, and `settle` whenever what was used so far must be done with: behind each streamed
  // chunk, and at the end. After settle the chunks that end within the range are given back.
  template <class Use, class Settle>
  void for_each(const compress::ModuleEntry& module, std::uint64_t begin, std::uint64_t end, Use&& use, Settle&& settle) {
    for (std::uint32_t c = module.first_chunk; c < module.first_chunk + module.chunk_count; c++) {
      const compress::ChunkEntry& entry = index_.chunks[c];
      const std::uint64_t chunk_end = entry.module_offset + entry.raw_bytes;
      if (chunk_end <= begin) continue;
      if (entry.module_offset >= end) break;
      const bool streamed = !pager_.is_resident(c);
      if (streamed) settle();
      use(entry, hold(c));
      if (streamed) settle();
      if (chunk_end <= end) give_back(c);
    }
    settle();
  }

  // Takes and gives back all chunks of a module without using them: the order of the pager is fixed.
  void skip(const compress::ModuleEntry& module) {
    for_each(
        module, 0, module.bytes, [](const compress::ChunkEntry&, std::span<const std::byte>) {}, [] {});
  }

  // After an error or a stop: forget what was held and begin the order anew.
  void abandon() {
    held_.clear();
    pager_.reset();
  }

 private:
  struct Held {
    std::uint32_t chunk;
    std::span<const std::byte> blob;
  };

  std::span<const std::byte> hold(std::uint32_t chunk) {
    for (const Held& held : held_)
      if (held.chunk == chunk) return held.blob;
    held_.push_back({chunk, pager_.acquire(chunk)});
    return held_.back().blob;
  }

  void give_back(std::uint32_t chunk) {
    std::erase_if(held_, [&](const Held& held) { return held.chunk == chunk; });
    pager_.release(chunk);
  }

  const compress::LeafIndex& index_;
  offload::Pager& pager_;
  std::vector<Held> held_;  // two at the most
};

}  // namespace leafcutter::runtime
