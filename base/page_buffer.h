// Anonymous memory straight from the system: page-aligned, backed by huge pages where they are to be had (direct reads into
// ordinary pages run at half the rate), touched once when it is made so that no page fault comes later.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace leafcutter {

class PageBuffer {
 public:
  PageBuffer() = default;
  // Throws Error(out_of_budget) naming `what` when the system refuses. bytes may be 0. With touch, every page is there on return.
  PageBuffer(std::size_t bytes, const std::string& what, bool touch = true);
  ~PageBuffer();
  PageBuffer(PageBuffer&& other) noexcept;
  PageBuffer& operator=(PageBuffer&& other) noexcept;

  std::byte* data() const { return data_; }  // aligned to 4096; to 2 MiB when bytes >= 2 MiB
  std::size_t size() const { return size_; }
  std::span<std::byte> bytes() const { return {data_, size_}; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  void* mapping_ = nullptr;
  std::size_t mapped_ = 0;
};

}  // namespace leafcutter
