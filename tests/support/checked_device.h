// A device for tests, without threads or clocks: what is enqueued runs as late as it may, in an order that a seed draws among all legal ones, and every access of a copy or a kernel is held against those before it
// by vector clocks. Two accesses to the same bytes, one of which writes, that no stream, event or wait of the host puts in order are reported with both their names, whatever order they happened to run in.
// Pinned memory that the host changes while a copy reads it is reported, too; what a copy to the host brings is poison until it ran, unless something enqueued before may still use that memory.
#pragma once

#include <algorithm>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "base/checked.h"
#include "base/page_buffer.h"
#include "offload/device.h"
#include "offload/emulated_kernels.h"

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
      : options_(options), properties_{"checked", options.memory_bytes, 2}, random_(options.seed), clocks_{{1}} {}

  // What went wrong, in order of being enqueued; empty when nothing did.
  const std::vector<std::string>& errors() const { return errors_; }
  std::string first_error() const { return errors_.empty() ? "" : errors_.front(); }
  std::size_t operations() const { return count_; }
  std::size_t refusals() const { return refusals_; }  // of device memory

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

  DeviceStream make_stream() override {
    streams_.emplace_back();
    for (Clock& clock : clocks_) clock.resize(streams_.size() + 1);
    clocks_.push_back(clocks_[0]);
    return static_cast<DeviceStream>(streams_.size() - 1);
  }
  DeviceEvent make_event() override {
    events_.push_back({});
    return static_cast<DeviceEvent>(events_.size() - 1);
  }
  void record(DeviceEvent id, DeviceStream stream) override {
    Event& event = events_.at(index(id));
    event.after = ++stream_of(stream).enqueued;
    event.stream = index(stream);
    event.clock = clock_of(stream);
    stream_of(stream).queue.push_back({});
  }
  void wait(DeviceStream stream, DeviceEvent id) override {
    const Event& event = events_.at(index(id));
    if (event.after == 0) return;
    join(clock_of(stream), event.clock);
    stream_of(stream).enqueued++;
    stream_of(stream).queue.push_back({.wait_stream = event.stream, .wait_for = event.after});
  }
  bool is_done(DeviceEvent id) override {
    for (std::size_t steps = random_() % 3; steps > 0 && run_one(); steps--) {}
    const Event& event = events_.at(index(id));
    if (event.after > 0 && streams_[event.stream].done < event.after) return false;
    seen(event.clock);
    return true;
  }
  void synchronize(DeviceEvent id) override {
    const Event event = events_.at(index(id));
    if (event.after > 0) run_until(event.stream, event.after);
    seen(event.clock);
  }
  void synchronize(DeviceStream stream) override {
    run_until(index(stream), stream_of(stream).enqueued);
    seen(clock_of(stream));
  }
  bool drain() noexcept override {
    while (run_one()) {}
    for (std::size_t s = 0; s < streams_.size(); s++) seen(clocks_[s + 1]);
    return true;
  }

  void copy_to_device(DeviceAddress to, const std::byte* from, const CopyShape& shape, DeviceStream stream) override {
    const auto before = gathered(from, shape);
    const bool pinned = is_pinned(from, extent(shape, shape.from_stride));
    const std::string name = named("copy to device", stream);
    enqueue(stream, name,
            {access({reinterpret_cast<std::uint64_t>(from)}, shape, shape.from_stride, false), access(to, shape, shape.to_stride, true)},
            [=, this] {
              if (gathered(from, shape) != before) errors_.push_back(name + ": its source was changed by the host before it ran");
              copy_rows(pointer(to), from, shape);
            });
    if (!pinned) synchronize(stream);
  }
  void copy_to_host(std::byte* to, DeviceAddress from, const CopyShape& shape, DeviceStream stream) override {
    const bool pinned = is_pinned(to, extent(shape, shape.to_stride));
    const DeviceAccess target = access({reinterpret_cast<std::uint64_t>(to)}, shape, shape.to_stride, true);
    const bool in_use = std::any_of(log_.begin(), log_.end(), [&](const Access& a) { return overlap(a.range, target); });
    for (std::size_t row = 0; row < shape.rows && !in_use; row++) std::memset(to + row * shape.to_stride, kPoison, shape.row_bytes);
    enqueue(stream, named("copy to host", stream), {access(from, shape, shape.from_stride, false), target},
            [=] { copy_rows(to, pointer(from), shape); });
    if (!pinned) synchronize(stream);
  }
  void copy_on_device(DeviceAddress to, DeviceAddress from, const CopyShape& shape, DeviceStream stream) override {
    enqueue(stream, named("copy on device", stream),
            {access(from, shape, shape.from_stride, false), access(to, shape, shape.to_stride, true)},
            [=] { copy_rows(pointer(to), pointer(from), shape); });
  }
  using Device::launch;
  void launch(DeviceKernel kernel, const void* arguments, DeviceStream stream) override {
    const DeviceKernelInfo& info = device_kernel(kernel);
    const auto* bytes = static_cast<const std::byte*>(arguments);
    std::vector<DeviceAccess> accesses;
    info.accesses(arguments, accesses);
    enqueue(stream, named(info.name, stream), accesses,
            [this, kernel, copied = std::vector<std::byte>(bytes, bytes + info.argument_bytes)] {
              run_emulated_kernel(kernel, copied.data(), options_.isa);
            });
  }

 private:
  static constexpr int kPoison = 0xff;
  using Clock = std::vector<std::uint64_t>;  // of each agent, the host first, then the streams: how much of it has come before

  struct Access {
    DeviceAccess range;
    std::size_t agent = 0;
    std::uint64_t at = 0;
    std::string name;
  };
  struct Memory {
    PageBuffer bytes;
    std::string what;
  };
  struct Operation {
    std::function<void()> work{};
    std::size_t wait_stream = 0;
    std::uint64_t wait_for = 0;  // of that stream; 0: nothing
  };
  struct Stream {
    std::deque<Operation> queue;
    std::uint64_t enqueued = 0, done = 0;
  };
  struct Event {
    std::size_t stream = 0;
    std::uint64_t after = 0;  // operations of the stream; 0: never recorded
    Clock clock;
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
  static void join(Clock& clock, const Clock& other) {
    for (std::size_t i = 0; i < other.size(); i++) clock[i] = std::max(clock[i], other[i]);
  }
  static bool overlap(const DeviceAccess& a, const DeviceAccess& b) {
    const auto end = [](const DeviceAccess& x) { return x.begin.value + (x.rows - 1) * x.stride + x.row_bytes; };
    if (a.begin.value >= end(b) || b.begin.value >= end(a)) return false;
    for (std::uint64_t i = 0; i < a.rows; i++)
      for (std::uint64_t j = 0; j < b.rows; j++) {
        const std::uint64_t x = a.begin.value + i * a.stride, y = b.begin.value + j * b.stride;
        if (x < y + b.row_bytes && y < x + a.row_bytes) return true;
      }
    return false;
  }

  Stream& stream_of(DeviceStream id) { return streams_.at(index(id)); }
  Clock& clock_of(DeviceStream id) { return clocks_.at(index(id) + 1); }

  std::string named(const std::string& what, DeviceStream stream) const {
    return what + " #" + std::to_string(count_) + " (stream " + std::to_string(index(stream)) + ")";
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

  void enqueue(DeviceStream stream, const std::string& name, const std::vector<DeviceAccess>& accesses, std::function<void()> work) {
    Clock& clock = clock_of(stream);
    join(clock, clocks_[0]);  // what the host knows to be done comes before
    const std::size_t agent = index(stream) + 1;
    const std::uint64_t at = ++clock[agent];
    for (const DeviceAccess& range : accesses) {
      for (const Access& earlier : log_) {
        const bool ordered = earlier.agent == agent || clock[earlier.agent] >= earlier.at;
        if (!ordered && (range.write || earlier.range.write) && overlap(range, earlier.range))
          errors_.push_back(name + (range.write ? " writes" : " reads") + " bytes that " + earlier.name +
                            (earlier.range.write ? " writes" : " reads") + ", and nothing puts them in order: " + place(range));
      }
    }
    for (const DeviceAccess& range : accesses) log_.push_back({range, agent, at, name});
    stream_of(stream).enqueued++;
    stream_of(stream).queue.push_back({.work = std::move(work)});
    count_++;
  }

  std::string place(const DeviceAccess& range) const {
    const Memory* memory = memory_at(range.begin.value, 1);
    return memory ? memory->what : "memory of the host";
  }

  // The host has waited for all this. What it knows to be done comes before all that it will enqueue.
  void seen(const Clock& clock) {
    join(clocks_[0], clock);
    std::erase_if(log_, [&](const Access& a) { return clocks_[0][a.agent] >= a.at; });
  }

  bool can_run(const Stream& stream) const {
    return !stream.queue.empty() &&
           (stream.queue.front().wait_for == 0 || streams_[stream.queue.front().wait_stream].done >= stream.queue.front().wait_for);
  }

  bool run_one() {
    std::vector<Stream*> ready;
    for (Stream& stream : streams_)
      if (can_run(stream)) ready.push_back(&stream);
    if (ready.empty()) return false;
    Stream& stream = *ready[random_() % ready.size()];
    const Operation operation = std::move(stream.queue.front());
    stream.queue.pop_front();
    if (operation.work) operation.work();
    stream.done++;
    return true;
  }

  void run_until(std::size_t stream, std::uint64_t operations) {
    while (streams_[stream].done < operations)
      if (!run_one()) throw std::logic_error("the host waits for what can never run");
  }

  const Options options_;
  const DeviceProperties properties_;
  std::mt19937_64 random_;
  std::map<std::uint64_t, Memory> memory_;
  std::map<std::uint64_t, std::size_t> pinned_;
  std::vector<Stream> streams_;
  std::vector<Event> events_;
  std::vector<Clock> clocks_;
  std::vector<Access> log_;
  std::vector<std::string> errors_;
  std::uint64_t allocated_ = 0, most_allocated_ = 0;
  std::size_t count_ = 0, refusals_ = 0;
};

}  // namespace leafcutter::offload::test
