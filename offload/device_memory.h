// Owners of what a device gives: they free it. The device must outlive them.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <utility>

#include "base/page_buffer.h"
#include "offload/device.h"

namespace leafcutter::offload {

class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  // bytes may be 0. Throws DeviceError(out_of_memory).
  DeviceBuffer(Device& device, std::size_t bytes, const std::string& what)
      : device_(&device), address_(bytes > 0 ? device.allocate(bytes, what) : DeviceAddress{}), size_(bytes) {}
  ~DeviceBuffer() {
    if (address_) device_->free(address_);
  }
  DeviceBuffer(DeviceBuffer&& other) noexcept { *this = std::move(other); }
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(address_, other.address_);
    std::swap(size_, other.size_);
    return *this;
  }

  DeviceAddress address() const { return address_; }
  std::size_t size() const { return size_; }

 private:
  Device* device_ = nullptr;
  DeviceAddress address_;
  std::size_t size_ = 0;
};

// Memory of the host that copies go through: pinned, or ordinary memory where that is refused.
class StagingBuffer {
 public:
  StagingBuffer() = default;
  // bytes may be 0. Throws Error(out_of_budget) when the system refuses.
  StagingBuffer(Device& device, std::size_t bytes, const std::string& what) : device_(&device), size_(bytes) {
    if (bytes > 0) pinned_ = device.allocate_pinned(bytes);
    if (!pinned_) ordinary_ = PageBuffer(bytes, what);
  }
  ~StagingBuffer() {
    if (pinned_) device_->free_pinned(pinned_);
  }
  StagingBuffer(StagingBuffer&& other) noexcept { *this = std::move(other); }
  StagingBuffer& operator=(StagingBuffer&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(pinned_, other.pinned_);
    std::swap(ordinary_, other.ordinary_);
    std::swap(size_, other.size_);
    return *this;
  }

  std::byte* data() const { return pinned_ ? pinned_ : ordinary_.data(); }
  std::size_t size() const { return size_; }
  bool is_pinned() const { return pinned_ != nullptr; }

 private:
  Device* device_ = nullptr;
  std::byte* pinned_ = nullptr;
  PageBuffer ordinary_;
  std::size_t size_ = 0;
};

// Pages that are there already, pinned for as long as this lives.
class PinnedPages {
 public:
  PinnedPages() = default;
  PinnedPages(Device& device, std::span<std::byte> memory) : device_(&device) {
    if (!memory.empty() && device.pin(memory)) memory_ = memory;
  }
  ~PinnedPages() {
    if (!memory_.empty()) device_->unpin(memory_);
  }
  PinnedPages(PinnedPages&& other) noexcept { *this = std::move(other); }
  PinnedPages& operator=(PinnedPages&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(memory_, other.memory_);
    return *this;
  }

  bool is_pinned() const { return !memory_.empty(); }

 private:
  Device* device_ = nullptr;
  std::span<std::byte> memory_;
};

}  // namespace leafcutter::offload
