// Where the end of a text has stood before: what followed there may follow again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace leafcutter::runtime {

struct Repeat {
  std::size_t length = 0;  // of the end of the text that stood earlier; 0: its last id is new
  std::size_t next = 0;    // what followed it there begins here
};

constexpr std::size_t kLongestRepeat = 16;  // ends longer than this are as good as any

// The longest end of `ids`, up to kLongestRepeat, that stands earlier in it, too; of several such places the last. One walk through the ids, nothing is kept.
Repeat longest_repeat(std::span<const std::uint32_t> ids);

}  // namespace leafcutter::runtime
