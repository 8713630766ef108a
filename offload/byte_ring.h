// Contiguous regions of a ring of bytes, taken and given back in the same order. Bookkeeping only; not thread-safe.
#pragma once

#include <cstddef>
#include <optional>

namespace leafcutter::offload {

class ByteRing {
 public:
  explicit ByteRing(std::size_t size) : size_(size) {}

  // Where `bytes` fit now; none when they do not. Nothing is split over the end: what is left there stays idle for this round.
  std::optional<std::size_t> take(std::size_t bytes) {
    if (bytes > size_) return std::nullopt;
    std::size_t at;
    if (regions_ == 0) {
      begin_ = end_ = at = 0;
    } else if (end_ > begin_) {
      if (end_ + bytes <= size_)
        at = end_;
      else if (bytes <= begin_)
        at = 0;
      else
        return std::nullopt;
    } else {
      if (end_ + bytes > begin_) return std::nullopt;
      at = end_;
    }
    end_ = at + bytes;
    regions_++;
    return at;
  }

  // The oldest region goes; `next` is where the then oldest begins (anything when there is none).
  void give_back_oldest(std::size_t next) {
    regions_--;
    begin_ = next;
  }

 private:
  std::size_t size_, begin_ = 0, end_ = 0, regions_ = 0;
};

}  // namespace leafcutter::offload
