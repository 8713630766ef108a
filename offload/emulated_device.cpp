#include "offload/emulated_device.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "base/checked.h"
#include "base/page_buffer.h"
#include "base/size_text.h"
#include "offload/emulated_kernels.h"
#include "offload/trace.h"

namespace leafcutter::offload {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kPoison = 0xff;  // a NaN in every float

std::size_t extent(const CopyShape& shape, std::size_t stride) { return (shape.rows - 1) * stride + shape.row_bytes; }

void copy_rows(std::byte* to, const std::byte* from, const CopyShape& shape) {
  for (std::size_t row = 0; row < shape.rows; row++)
    std::memcpy(to + row * shape.to_stride, from + row * shape.from_stride, shape.row_bytes);
}

// What does one thing at a time, and copies no faster than a rate.
class Engine {
 public:
  template <class Work>
  void run(Work&& work) {
    const std::lock_guard lock(mutex_);
    work();
  }
  template <class Work>
  void run(Work&& work, std::size_t bytes, std::optional<double> bytes_per_s, Trace* trace, TraceKind kind) {
    const std::lock_guard lock(mutex_);
    const TraceSpan span(trace, kind, 0, bytes);
    const auto start = std::max(free_at_, Clock::now());
    work();
    if (!bytes_per_s) return;
    free_at_ =
        start + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(static_cast<double>(bytes) / *bytes_per_s));
    std::this_thread::sleep_until(free_at_);
  }

 private:
  std::mutex mutex_;
  Clock::time_point free_at_;
};

class EmulatedDevice final : public Device {
 public:
  explicit EmulatedDevice(EmulatedDeviceOptions options)
      : options_(std::move(options)), properties_{options_.name, options_.memory_bytes, options_.copy_engines} {}

  ~EmulatedDevice() override {
    {
      std::unique_lock lock(mutex_);
      wait_until_empty(lock);
      stopping_ = true;
    }
    changed_.notify_all();
    streams_.clear();
  }

  const DeviceProperties& properties() const override { return properties_; }

  // ---- memory

  DeviceAddress allocate(std::size_t bytes, const std::string& what) override {
    const std::lock_guard lock(mutex_);
    check_usable();
    const std::uint64_t counted = round_up(bytes, kDeviceAlignment), free_bytes = properties_.memory_bytes - allocated_;
    if (call(EmulatedCall::allocate) == EmulatedFault::refuse || counted > free_bytes)
      throw DeviceError(DeviceFailure::out_of_memory, properties_.name + ", " + what,
                        "needs " + format_bytes(counted) + " of device memory, " + format_bytes(free_bytes) + " of " +
                            format_bytes(properties_.memory_bytes) + " are free",
                        "raise --device-memory, or plan with less");
    PageBuffer memory(bytes, what);
    std::memset(memory.data(), kPoison, memory.size());
    const auto address = reinterpret_cast<std::uint64_t>(memory.data());
    allocations_.emplace(address, Allocation{std::move(memory), counted});
    allocated_ += counted;
    most_allocated_ = std::max(most_allocated_, allocated_);
    return {address};
  }

  void free(DeviceAddress address) noexcept override {
    std::unique_lock lock(mutex_);
    wait_until_empty(lock);
    const auto found = allocations_.find(address.value);
    if (found == allocations_.end()) return;
    std::memset(found->second.memory.data(), kPoison, found->second.memory.size());
    allocated_ -= found->second.counted;
    allocations_.erase(found);
  }

  std::byte* allocate_pinned(std::size_t bytes) override {
    const std::lock_guard lock(mutex_);
    check_usable();
    if (call(EmulatedCall::pin) != EmulatedFault::none) return nullptr;
    PageBuffer memory(bytes, "pinned memory");
    std::memset(memory.data(), kPoison, memory.size());
    std::byte* data = memory.data();
    pinned_[data] = bytes;
    pinned_memory_.emplace(data, std::move(memory));
    return data;
  }

  void free_pinned(std::byte* memory) noexcept override {
    std::unique_lock lock(mutex_);
    wait_until_empty(lock);
    pinned_.erase(memory);
    pinned_memory_.erase(memory);
  }

  bool pin(std::span<std::byte> memory) override {
    const std::lock_guard lock(mutex_);
    check_usable();
    if (call(EmulatedCall::pin) != EmulatedFault::none) return false;
    pinned_[memory.data()] = memory.size();
    return true;
  }

  void unpin(std::span<std::byte> memory) noexcept override {
    std::unique_lock lock(mutex_);
    wait_until_empty(lock);
    pinned_.erase(memory.data());
  }

  std::uint64_t allocated_bytes() const override {
    const std::lock_guard lock(mutex_);
    return allocated_;
  }
  std::uint64_t most_allocated_bytes() const override {
    const std::lock_guard lock(mutex_);
    return most_allocated_;
  }

  // ---- streams and events

  DeviceStream make_stream() override {
    const std::lock_guard lock(mutex_);
    check_usable();
    const std::size_t id = streams_.size();
    Stream& stream = *streams_.emplace_back(std::make_unique<Stream>());
    stream.thread = std::jthread([this, &stream] { serve(stream); });
    return static_cast<DeviceStream>(id);
  }

  DeviceEvent make_event() override {
    const std::lock_guard lock(mutex_);
    check_usable();
    events_.push_back(std::make_shared<bool>(true));
    return static_cast<DeviceEvent>(events_.size() - 1);
  }

  void record(DeviceEvent id, DeviceStream stream) override {
    const std::lock_guard lock(mutex_);
    check_usable();
    const auto mark = event_of(id) = std::make_shared<bool>(false);
    enqueue(stream, {.kind = Operation::Kind::record, .mark = mark});
  }

  void wait(DeviceStream stream, DeviceEvent id) override {
    const std::lock_guard lock(mutex_);
    check_usable();
    enqueue(stream, {.kind = Operation::Kind::wait, .mark = event_of(id)});
  }

  bool is_done(DeviceEvent id) override {
    const std::lock_guard lock(mutex_);
    check_usable();
    return *event_of(id);
  }

  void synchronize(DeviceEvent id) override {
    std::unique_lock lock(mutex_);
    check_usable();
    call(EmulatedCall::wait);
    changed_.wait(lock, [&, mark = event_of(id)] { return *mark; });
    check_usable();
  }

  void synchronize(DeviceStream id) override {
    std::unique_lock lock(mutex_);
    check_usable();
    call(EmulatedCall::wait);
    const Stream& stream = stream_of(id);
    changed_.wait(lock, [&] { return stream.queue.empty(); });
    check_usable();
  }

  bool drain() noexcept override {
    std::unique_lock lock(mutex_);
    wait_until_empty(lock);
    failure_ = nullptr;
    return !lost_;
  }

  // ---- work

  void copy_to_device(DeviceAddress to, const std::byte* from, const CopyShape& shape, DeviceStream stream) override {
    copy(shape, stream, to, shape.to_stride, reinterpret_cast<std::byte*>(to.value), from, from, shape.from_stride, to_device_,
         TraceKind::copy_down);
  }

  // Beside the copies: at the link's rate, not one at a time, and no copy for a trace.
  void fetch(DeviceAddress to, const std::byte* from, const CopyShape& shape, DeviceStream stream) override {
    std::unique_lock lock(mutex_);
    if (!is_pinned(from, extent(shape, shape.from_stride))) {
      lock.unlock();
      return copy_to_device(to, from, shape, stream);
    }
    check_usable();
    check_place(to, extent(shape, shape.to_stride));
    const bool fails = refused(EmulatedCall::copy, DeviceFailure::copy);
    const std::optional<double> rate = options_.link_bytes_per_s;
    enqueue(stream, {.work = [=, this] {
              if (fails) throw failed(DeviceFailure::copy);
              Engine().run([&] { copy_rows(reinterpret_cast<std::byte*>(to.value), from, shape); }, shape.rows * shape.row_bytes, rate,
                           nullptr, TraceKind::copy_down);
            }});
  }

  void copy_to_host(std::byte* to, DeviceAddress from, const CopyShape& shape, DeviceStream stream) override {
    copy(shape, stream, from, shape.from_stride, to, reinterpret_cast<const std::byte*>(from.value), to, shape.to_stride,
         properties_.copy_engines > 1 ? to_host_ : to_device_, TraceKind::copy_up);
  }

  void copy_on_device(DeviceAddress to, DeviceAddress from, const CopyShape& shape, DeviceStream stream) override {
    const std::lock_guard lock(mutex_);
    check_usable();
    check_place(to, extent(shape, shape.to_stride));
    check_place(from, extent(shape, shape.from_stride));
    const bool fails = refused(EmulatedCall::copy, DeviceFailure::copy);
    enqueue(
        stream, {.work = [=, this] {
          if (fails) throw failed(DeviceFailure::copy);
          compute_.run([&] { copy_rows(reinterpret_cast<std::byte*>(to.value), reinterpret_cast<const std::byte*>(from.value), shape); });
        }});
  }

  void set_trace(Trace* trace) override {
    const std::lock_guard lock(mutex_);
    trace_ = trace;
  }

  using Device::launch;
  void launch(DeviceKernel kernel, const void* arguments, DeviceStream stream) override {
    const std::lock_guard lock(mutex_);
    check_usable();
    const DeviceKernelInfo& info = device_kernel(kernel);
    accesses_.clear();
    info.accesses(arguments, accesses_);
    for (const DeviceAccess& access : accesses_) check_place(access.begin, (access.rows - 1) * access.stride + access.row_bytes);
    const bool fails = refused(EmulatedCall::launch, DeviceFailure::launch);
    const auto* bytes = static_cast<const std::byte*>(arguments);
    enqueue(stream, {.work = [this, kernel, fails, trace = trace_, copied = std::vector<std::byte>(bytes, bytes + info.argument_bytes)] {
              if (fails) throw failed(DeviceFailure::launch);
              compute_.run([&] {
                const TraceSpan span(trace, TraceKind::kernel, static_cast<std::uint32_t>(kernel));
                run_emulated_kernel(kernel, copied.data(), options_.isa);
              });
            }});
  }

 private:
  struct Allocation {
    PageBuffer memory;
    std::uint64_t counted;
  };
  // Of one recording: has the stream come there? A recording that is followed by another on a different stream may come later than that one.
  using Mark = std::shared_ptr<bool>;
  struct Operation {
    enum class Kind { work, record, wait } kind = Kind::work;
    std::function<void()> work{};
    Mark mark{};
  };
  struct Stream {
    std::deque<Operation> queue;  // its first is under way
    std::jthread thread;
  };

  // ---- the mutex is held in all that follows

  Stream& stream_of(DeviceStream id) { return *streams_.at(static_cast<std::size_t>(id)); }
  Mark& event_of(DeviceEvent id) { return events_.at(static_cast<std::size_t>(id)); }

  DeviceError lost() const {
    return {DeviceFailure::lost, properties_.name, "the device is lost", "load the model again, or use --device cpu"};
  }
  DeviceError failed(DeviceFailure failure) const {
    return {failure, properties_.name, failure == DeviceFailure::copy ? "a copy failed" : "a kernel failed", "try again"};
  }

  void check_usable() const {
    if (lost_) throw lost();
    if (failure_) std::rethrow_exception(failure_);
  }

  EmulatedFault call(EmulatedCall kind) {
    const std::uint64_t index = calls_[static_cast<std::size_t>(kind)]++;
    const EmulatedFault fault = options_.faults ? options_.faults(kind, index) : EmulatedFault::none;
    if (fault != EmulatedFault::lose) return fault;
    lost_ = true;
    throw lost();
  }

  // True: it is to fail when it runs.
  bool refused(EmulatedCall kind, DeviceFailure failure) {
    const EmulatedFault fault = call(kind);
    if (fault == EmulatedFault::refuse) throw failed(failure);
    return fault == EmulatedFault::later;
  }

  // Our own mistakes, not the device's.
  void check_place(DeviceAddress address, std::size_t bytes) const {
    auto next = allocations_.upper_bound(address.value);
    if (next == allocations_.begin()) throw std::logic_error("an address that is no device memory");
    const auto& [begin, allocation] = *std::prev(next);
    if (address.value + bytes > begin + allocation.memory.size()) throw std::logic_error("beyond an allocation of device memory");
  }

  bool is_pinned(const std::byte* memory, std::size_t bytes) const {
    auto next = pinned_.upper_bound(memory);
    if (next == pinned_.begin()) return false;
    const auto& [begin, size] = *std::prev(next);
    return memory + bytes <= begin + size;
  }

  void wait_until_empty(std::unique_lock<std::mutex>& lock) {
    changed_.wait(lock, [&] { return std::all_of(streams_.begin(), streams_.end(), [](const auto& s) { return s->queue.empty(); }); });
  }

  void enqueue(DeviceStream id, Operation operation) {
    stream_of(id).queue.push_back(std::move(operation));
    changed_.notify_all();
  }

  void copy(const CopyShape& shape, DeviceStream id, DeviceAddress device, std::size_t device_stride, std::byte* to, const std::byte* from,
            const std::byte* host, std::size_t host_stride, Engine& engine, TraceKind kind) {
    std::unique_lock lock(mutex_);
    check_usable();
    check_place(device, extent(shape, device_stride));
    const bool fails = refused(EmulatedCall::copy, DeviceFailure::copy), pinned = is_pinned(host, extent(shape, host_stride));
    std::optional<double> rate = options_.link_bytes_per_s;
    if (rate && !pinned) *rate /= 2;
    enqueue(id, {.work = [=, this, &engine, trace = trace_] {
              if (fails) throw failed(DeviceFailure::copy);
              engine.run([&] { copy_rows(to, from, shape); }, shape.rows * shape.row_bytes, rate, trace, kind);
            }});
    if (pinned) return;
    const Stream& stream = stream_of(id);
    changed_.wait(lock, [&] { return stream.queue.empty(); });
    check_usable();
  }

  void serve(Stream& stream) {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [&] { return stopping_ || !stream.queue.empty(); });
      if (stream.queue.empty()) return;
      Operation& operation = stream.queue.front();
      switch (operation.kind) {
        case Operation::Kind::record:
          *operation.mark = true;
          break;
        case Operation::Kind::wait:
          changed_.wait(lock, [&] { return *operation.mark; });
          break;
        case Operation::Kind::work:
          if (lost_ || failure_) break;
          lock.unlock();
          std::exception_ptr failure;
          try {
            operation.work();
          } catch (...) { failure = std::current_exception(); }
          lock.lock();
          if (failure && !failure_) failure_ = failure;
      }
      stream.queue.pop_front();
      changed_.notify_all();
    }
  }

  const EmulatedDeviceOptions options_;
  const DeviceProperties properties_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::uint64_t, Allocation> allocations_;
  std::map<const std::byte*, std::size_t> pinned_;
  std::map<const std::byte*, PageBuffer> pinned_memory_;
  std::uint64_t allocated_ = 0, most_allocated_ = 0;
  std::array<std::uint64_t, kEmulatedCalls> calls_{};
  std::vector<DeviceAccess> accesses_;  // of one launch
  std::vector<Mark> events_;            // the last recording of each; done if there was none
  Trace* trace_ = nullptr;
  std::exception_ptr failure_;  // of work that ran, until drain()
  bool lost_ = false, stopping_ = false;
  Engine to_device_, to_host_, compute_;
  std::vector<std::unique_ptr<Stream>> streams_;  // last: their threads use all of the above
};

}  // namespace

std::unique_ptr<Device> make_emulated_device(EmulatedDeviceOptions options) { return std::make_unique<EmulatedDevice>(std::move(options)); }

}  // namespace leafcutter::offload
