// A device for tests, without threads or clocks: ordered_streams.h draws the order of what is enqueued from a seed and finds accesses that nothing puts in order. Pinned memory that the host changes while a copy reads
// it is reported, too; what a copy to the host brings is poison until it ran, unless something enqueued before may still use that memory.
#pragma once

#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/checked.h"
#include "base/page_buffer.h"
#include "offload/device.h"
#include "offload/emulated_kernels.h"
#include "tests/support/ordered_streams.h"

namespace leafcutter::offload::test {

class CheckedDevice final : public Device {
 public:
  struct Options {
    std::uint64_t memory_bytes = std::uint64_t{1} << 30;
    std::uint64_t taken_bytes = 0;  // of that, what somebody else has: allocations find out
    bool refuses_pinning = false;
    std::uint64_t seed = 1;
    kernels::Isa isa = kernels::default_isa();
  };

  explicit CheckedDevice(const Options& options)
      : options_(options), properties_{"checked", options.memory_bytes, 2}, streams_(options.seed, [this](const DeviceAccess& range) {
          return place(range);
        }) {}

  // What went wrong, in order of being enqueued; empty when nothing did.
  const std::vector<std::string>& errors() const { return streams_.errors(); }
  std::string first_error() const { return streams_.first_error(); }
  std::size_t operations() const { return streams_.operations(); }
  std::size_t refusals() const { return refusals_; }  // of device memory

  template <class Write>
  auto host_writes(std::span<std::byte> memory, Write&& write) {
    return streams_.host_writes(memory, std::forward<Write>(write));
  }

  const DeviceProperties& properties() const override { return properties_; }

  DeviceAddress allocate(std::size_t bytes, const std::string& what) override {
    const std::uint64_t counted = round_up(bytes, kDeviceAlignment);
    if (counted > options_.memory_bytes - options_.taken_bytes - allocated_) {
      refusals_++;
      throw DeviceError(DeviceFailure::out_of_memory, "checked, " + what, "does not fit");
    }
    allocated_ += counted;
    most_allocated_ = std::max(most_allocated_, allocated_);
    return {reinterpret_cast<std::uint64_t>(add(bytes, what))};
  }
  void free(DeviceAddress address) noexcept override {
    drain();
    const auto found = memory_.find(address.value);
    if (found == memory_.end()) return;
    allocated_ -= round_up(found->second.bytes.size(), kDeviceAlignment);
    std::memset(found->second.bytes.data(), kPoison, found->second.bytes.size());
    memory_.erase(found);
  }
  std::byte* allocate_pinned(std::size_t bytes) override { return options_.refuses_pinning ? nullptr : add(bytes, "pinned memory"); }
  void free_pinned(std::byte* memory) noexcept override {
    drain();
    memory_.erase(reinterpret_cast<std::uint64_t>(memory));
  }
  bool pin(std::span<std::byte> memory) override {
    if (!options_.refuses_pinning) pinned_[reinterpret_cast<std::uint64_t>(memory.data())] = memory.size();
    return !options_.refuses_pinning;
  }
  void unpin(std::span<std::byte> memory) noexcept override {
    drain();
    pinned_.erase(reinterpret_cast<std::uint64_t>(memory.data()));
  }
  std::uint64_t allocated_bytes() const override { return allocated_; }
  std::uint64_t most_allocated_bytes() const override { return most_allocated_; }

  DeviceStream make_stream() override { return static_cast<DeviceStream>(streams_.add_stream()); }
  DeviceEvent make_event() override { return static_cast<DeviceEvent>(streams_.add_event()); }
  void record(DeviceEvent event, DeviceStream stream) override { streams_.record(index(event), index(stream)); }
  void wait(DeviceStream stream, DeviceEvent event) override { streams_.wait(index(stream), index(event)); }
  bool is_done(DeviceEvent event) override { return streams_.is_done(index(event)); }
  void synchronize(DeviceEvent event) override { streams_.synchronize_event(index(event)); }
  void synchronize(DeviceStream stream) override { streams_.synchronize_stream(index(stream)); }
  bool drain() noexcept override {
    streams_.drain();
    return true;
  }

  void copy_to_device(DeviceAddress to, const std::byte* from, const CopyShape& shape, DeviceStream stream) override {
    const auto before = gathered(from, shape);
    const bool pinned = is_pinned(from, extent(shape, shape.from_stride));
    const std::string name = streams_.named("copy to device", index(stream));
    streams_.enqueue(
        index(stream), name,
        {access({reinterpret_cast<std::uint64_t>(from)}, shape, shape.from_stride, false), access(to, shape, shape.to_stride, true)},
        [=, this] {
          if (gathered(from, shape) != before) streams_.add_error(name + ": its source was changed by the host before it ran");
          copy_rows(pointer(to), from, shape);
        });
    if (!pinned) synchronize(stream);
  }
  void copy_to_host(std::byte* to, DeviceAddress from, const CopyShape& shape, DeviceStream stream) override {
    const bool pinned = is_pinned(to, extent(shape, shape.to_stride));
    const DeviceAccess target = access({reinterpret_cast<std::uint64_t>(to)}, shape, shape.to_stride, true);
    const bool in_use = streams_.in_use(target);
    for (std::size_t row = 0; row < shape.rows && !in_use; row++) std::memset(to + row * shape.to_stride, kPoison, shape.row_bytes);
    streams_.enqueue(index(stream), streams_.named("copy to host", index(stream)), {access(from, shape, shape.from_stride, false), target},
                     [=] { copy_rows(to, pointer(from), shape); });
    if (!pinned) synchronize(stream);
  }
  void copy_on_device(DeviceAddress to, DeviceAddress from, const CopyShape& shape, DeviceStream stream) override {
    streams_.enqueue(index(stream), streams_.named("copy on device", index(stream)),
                     {access(from, shape, shape.from_stride, false), access(to, shape, shape.to_stride, true)},
                     [=] { copy_rows(pointer(to), pointer(from), shape); });
  }
  using Device::launch;
  void launch(DeviceKernel kernel, const void* arguments, DeviceStream stream) override {
    const DeviceKernelInfo& info = device_kernel(kernel);
    const auto* bytes = static_cast<const std::byte*>(arguments);
    std::vector<DeviceAccess> accesses;
    info.accesses(arguments, accesses);
    streams_.enqueue(index(stream), streams_.named(info.name, index(stream)), accesses,
                     [this, kernel, copied = std::vector<std::byte>(bytes, bytes + info.argument_bytes)] {
                       run_emulated_kernel(kernel, copied.data(), options_.isa);
                     });
  }

 private:
  static constexpr int kPoison = 0xff;
  struct Memory {
    PageBuffer bytes;
    std::string what;
  };
  template <class Id>
  static std::size_t index(Id id) {
    return static_cast<std::size_t>(id);
  }
  static std::byte* pointer(DeviceAddress address) { return reinterpret_cast<std::byte*>(address.value); }
  static std::size_t extent(const CopyShape& shape, std::size_t stride) { return (shape.rows - 1) * stride + shape.row_bytes; }
  static DeviceAccess access(DeviceAddress begin, const CopyShape& shape, std::size_t stride, bool write) {
    return {begin, shape.rows, shape.row_bytes, stride, write};
  }
  static void copy_rows(std::byte* to, const std::byte* from, const CopyShape& shape) {
    for (std::size_t row = 0; row < shape.rows; row++)
      std::memcpy(to + row * shape.to_stride, from + row * shape.from_stride, shape.row_bytes);
  }
  static std::vector<std::byte> gathered(const std::byte* from, const CopyShape& shape) {
    std::vector<std::byte> bytes(shape.rows * shape.row_bytes);
    for (std::size_t row = 0; row < shape.rows; row++)
      std::memcpy(bytes.data() + row * shape.row_bytes, from + row * shape.from_stride, shape.row_bytes);
    return bytes;
  }
  std::byte* add(std::size_t bytes, const std::string& what) {
    PageBuffer memory(bytes, what);
    std::memset(memory.data(), kPoison, bytes);
    std::byte* data = memory.data();
    memory_[reinterpret_cast<std::uint64_t>(data)] = {std::move(memory), what};
    return data;
  }

  const Memory* memory_at(std::uint64_t address, std::uint64_t bytes) const {
    auto next = memory_.upper_bound(address);
    if (next == memory_.begin()) return nullptr;
    const auto& [begin, memory] = *std::prev(next);
    return address + bytes <= begin + memory.bytes.size() ? &memory : nullptr;
  }

  bool is_pinned(const std::byte* memory, std::size_t bytes) const {
    const auto address = reinterpret_cast<std::uint64_t>(memory);
    if (memory_at(address, bytes)) return true;
    auto next = pinned_.upper_bound(address);
    return next != pinned_.begin() && address + bytes <= std::prev(next)->first + std::prev(next)->second;
  }

  std::string place(const DeviceAccess& range) const {
    const Memory* memory = memory_at(range.begin.value, 1);
    return memory ? memory->what : "memory of the host";
  }

  const Options options_;
  const DeviceProperties properties_;
  std::map<std::uint64_t, Memory> memory_;
  std::map<std::uint64_t, std::size_t> pinned_;
  OrderedStreams streams_;
  std::uint64_t allocated_ = 0, most_allocated_ = 0;
  std::size_t refusals_ = 0;
};

}  // namespace leafcutter::offload::test
