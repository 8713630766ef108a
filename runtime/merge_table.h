// Byte-pair merges: (left, right) -> rank and result, and merging a piece by rank (Sennrich et al. 2016).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "compress/tokenizer_data.h"

namespace leafcutter::runtime {

// Immutable, thread-safe. 16 bytes a slot, at most 4/5 full.
class MergeTable {
 public:
  explicit MergeTable(std::span<const compress::Merge> merges);

  // Merges ids until no pair has a merge, lowest rank first, leftmost first among equals. O(n log n).
  void merge(std::vector<std::uint32_t>& ids) const;

  std::size_t memory_bytes() const { return slots_.size() * sizeof(Slot); }

 private:
  static constexpr std::uint32_t kEmpty = ~0u;
  struct Slot {
    std::uint32_t left = kEmpty, right = 0, rank = 0, result = 0;
  };
  const Slot* find(std::uint32_t left, std::uint32_t right) const;
  std::size_t place(std::uint32_t left, std::uint32_t right) const;

  std::vector<Slot> slots_;
};

// Throws Error(bad_file) naming `file` when a merge names a token that is not there.
void check_merges(const compress::TokenizerData& data, const std::string& file);

}  // namespace leafcutter::runtime
