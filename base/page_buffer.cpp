#include "base/page_buffer.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

#include "base/checked.h"
#include "base/error.h"
#include "base/size_text.h"

namespace leafcutter {
namespace {

constexpr std::size_t kPageBytes = 4096;
constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;

}  // namespace

PageBuffer::PageBuffer(std::size_t bytes, const std::string& what, bool touch) {
  if (bytes == 0) return;
  const bool huge = bytes >= kHugePageBytes;
  // The address range is aligned to huge pages, the length is not: the last part stays in ordinary pages, so that no byte is charged that was not asked for.
  const std::size_t rounded = static_cast<std::size_t>(round_up(bytes, kPageBytes));
  mapped_ = rounded + (huge ? kHugePageBytes : 0);
  mapping_ = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping_ == MAP_FAILED) {
    mapping_ = nullptr;
    throw Error(ErrorKind::out_of_budget, what, "the system refuses " + format_bytes(bytes) + ": " + std::strerror(errno),
                "set a smaller --memory");
  }
  const auto address = reinterpret_cast<std::uintptr_t>(mapping_);
  data_ = reinterpret_cast<std::byte*>(huge ? round_up(address, kHugePageBytes) : address);
  size_ = bytes;
  if (huge) madvise(data_, rounded, MADV_HUGEPAGE);  // refused in some containers; ordinary pages work as well
  if (touch)
    for (std::size_t at = 0; at < rounded; at += kPageBytes) data_[at] = std::byte{0};
}

PageBuffer::~PageBuffer() {
  if (mapping_) munmap(mapping_, mapped_);
}

PageBuffer::PageBuffer(PageBuffer&& other) noexcept { *this = std::move(other); }

PageBuffer& PageBuffer::operator=(PageBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(mapping_, other.mapping_);
  std::swap(mapped_, other.mapped_);
  return *this;
}

}  // namespace leafcutter
