// Bytes of a file read as the whole pages around them, into page-aligned memory: serves files opened for direct reads too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/checked.h"
#include "base/error.h"
#include "base/file.h"
#include "base/page_buffer.h"
#include "compress/leaf_index.h"

namespace leafcutter::compress {

class PageRange {
 public:
  // [offset, offset + bytes) was checked to lie in the file, whose size is a multiple of kPage. Throws Error(io) naming `what`.
  PageRange(File& file, std::uint64_t offset, std::uint64_t bytes, const std::string& what)
      : begin_(offset / kPage * kPage), offset_(offset), bytes_(bytes), pages_(round_up(offset + bytes, kPage) - begin_, what, false) {
    try {
      read_exactly(file, begin_, pages_.bytes(), "bytes");
    } catch (const Error& e) { throw Error(e.kind(), what, e.what()); }
  }
  std::span<const std::byte> bytes() const { return pages_.bytes().subspan(offset_ - begin_, bytes_); }

 private:
  std::uint64_t begin_, offset_, bytes_;
  PageBuffer pages_;
};

inline bool all_zero(std::span<const std::byte> bytes) {
  for (std::byte b : bytes)
    if (b != std::byte{0}) return false;
  return true;
}

}  // namespace leafcutter::compress
