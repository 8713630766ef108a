// Sorted texts that are walked a piece at a time: which of them begin with what was walked?
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace leafcutter::runtime {

// Looks at bytes that others keep and holds four bytes a text itself. Immutable, thread-safe.
class PrefixTable {
 public:
  // The texts that begin with the bytes walked so far.
  struct Range {
    std::uint32_t first, end;
    std::uint32_t depth;  // bytes walked
    bool empty() const { return first == end; }
  };

  // bytes: texts one behind the other, ascending, of offsets[i] to offsets[i + 1]; fewer than 2^32 bytes; they outlive the table.
  PrefixTable(std::string_view bytes, std::vector<std::uint32_t> offsets) : bytes_(bytes), offsets_(std::move(offsets)) {}

  std::uint32_t size() const { return static_cast<std::uint32_t>(offsets_.size() - 1); }
  std::string_view text(std::uint32_t i) const { return bytes_.substr(offsets_[i], offsets_[i + 1] - offsets_[i]); }

  Range all() const { return {0, size(), 0}; }
  // Those that go on with `piece`.
  Range walk(Range range, std::string_view piece) const;
  // Is the first of them what was walked and no more? (Of equal texts the first in the table.)
  bool ends(Range range) const { return !range.empty() && text(range.first).size() == range.depth; }

  std::size_t memory_bytes() const { return offsets_.capacity() * sizeof(std::uint32_t); }

 private:
  std::string_view bytes_;
  std::vector<std::uint32_t> offsets_;
};

}  // namespace leafcutter::runtime
