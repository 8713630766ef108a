#include "offload/emulated_device.h"

#include <immintrin.h>
#include <sys/prctl.h>

#include <algorithm>
#include <array>
#include <atomic>
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

// As in base/thread_team.cpp: who waits looks for this long, then sleeps. What plays the card's processor looks for as long as the host's part of a product may take: a card does not need to be woken.
constexpr auto kSpin = std::chrono::microseconds(30), kSpinOfCard = std::chrono::microseconds(300);
constexpr int kTries = 1000;  // for a mutex, before sleeping
constexpr int kLooks = 64;    // at what is waited for, before looking for who else wants the core
// Few bytes are moved by whoever finds that they can be: waking a thread for them takes longer than moving them.
constexpr std::size_t kFewBytes = 32 << 10;

void spin_until(Clock::time_point moment) {
  while (Clock::now() < moment) _mm_pause();
}

void wait_until(Clock::time_point moment) {
  if (moment - Clock::now() > kSpin) std::this_thread::sleep_until(moment);
  spin_until(moment);
}

void lock_soon(std::unique_lock<std::mutex>& lock) {
  for (int i = 0; i < kTries; i++) {
    if (lock.try_lock()) return;
    _mm_pause();
  }
  lock.lock();
}
std::unique_lock<std::mutex> locked(std::mutex& mutex) {
  std::unique_lock lock(mutex, std::defer_lock);
  lock_soon(lock);
  return lock;
}

// Threads that wait for something which others do under a mutex. Waking one that looks costs nothing, one that sleeps as much as a small kernel takes.
class Waiting {
 public:
  // With the mutex held: what may be waited for has happened.
  void happened() {
    changes_.fetch_add(1, std::memory_order_release);
    if (sleepers_ > 0) changed_.notify_all();
  }

  template <class Condition>
  void wait(std::unique_lock<std::mutex>& lock, std::chrono::microseconds spin, Condition&& condition) {
    if (condition()) return;
    const auto give_up = Clock::now() + spin;
    while (!condition()) {
      const std::uint64_t seen = changes_.load(std::memory_order_acquire);
      lock.unlock();
      while (changes_.load(std::memory_order_acquire) == seen && Clock::now() < give_up) {
        for (int i = 0; i < kLooks && changes_.load(std::memory_order_acquire) == seen; i++) _mm_pause();
        std::this_thread::yield();  // to who has no core
      }
      lock_soon(lock);
      if (changes_.load(std::memory_order_relaxed) != seen) continue;
      sleepers_++;
      changed_.wait(lock, condition);
      sleepers_--;
    }
  }

 private:
  std::atomic<std::uint64_t> changes_{0};
  std::condition_variable changed_;
  int sleepers_ = 0;
};

class EmulatedDevice final : public Device {
 public:
  explicit EmulatedDevice(EmulatedDeviceOptions options)
      : options_(std::move(options)), properties_{options_.name, options_.memory_bytes, options_.copy_engines, 1} {
    engines_[static_cast<std::size_t>(EngineName::kernels)].spin = kSpinOfCard;
    for (Engine& engine : engines_) engine.thread = std::thread([this, &engine] { serve(engine); });
  }

  ~EmulatedDevice() override {
    {
      std::unique_lock lock = locked(mutex_);
      wait_until_empty(lock);
      stopping_ = true;
      for (Engine& engine : engines_) engine.given.happened();
    }
    for (Engine& engine : engines_) engine.thread.join();
  }

  const DeviceProperties& properties() const override { return properties_; }

  // ---- memory

  DeviceAddress allocate(std::size_t bytes, const std::string& what) override {
    const std::unique_lock lock = locked(mutex_);
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
    std::unique_lock lock = locked(mutex_);
    wait_until_empty(lock);
    const auto found = allocations_.find(address.value);
    if (found == allocations_.end()) return;
    std::memset(found->second.memory.data(), kPoison, found->second.memory.size());
    allocated_ -= found->second.counted;
    allocations_.erase(found);
  }

  std::byte* allocate_pinned(std::size_t bytes) override {
    const std::unique_lock lock = locked(mutex_);
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
    std::unique_lock lock = locked(mutex_);
    wait_until_empty(lock);
    pinned_.erase(memory);
    pinned_memory_.erase(memory);
  }

  bool pin(std::span<std::byte> memory) override {
    const std::unique_lock lock = locked(mutex_);
    check_usable();
    if (call(EmulatedCall::pin) != EmulatedFault::none) return false;
    pinned_[memory.data()] = memory.size();
    return true;
  }

  void unpin(std::span<std::byte> memory) noexcept override {
    std::unique_lock lock = locked(mutex_);
    wait_until_empty(lock);
    pinned_.erase(memory.data());
  }

  std::uint64_t allocated_bytes() const override {
    const std::unique_lock lock = locked(mutex_);
    return allocated_;
  }
  std::uint64_t most_allocated_bytes() const override {
    const std::unique_lock lock = locked(mutex_);
    return most_allocated_;
  }

  // ---- streams and events

  DeviceStream make_stream() override {
    const std::unique_lock lock = locked(mutex_);
    check_usable();
    const std::size_t id = streams_.size();
    streams_.emplace_back();
    return static_cast<DeviceStream>(id);
  }

  DeviceEvent make_event() override {
    const std::unique_lock lock = locked(mutex_);
    check_usable();
    events_.push_back(std::make_shared<Moment>(Moment{true, {}}));
    return static_cast<DeviceEvent>(events_.size() - 1);
  }

  void record(DeviceEvent id, DeviceStream stream) override {
    const std::unique_lock lock = locked(mutex_);
    check_usable();
    const auto mark = event_of(id) = std::make_shared<Moment>();
    enqueue(stream, {.kind = Operation::Kind::record, .mark = mark});
  }

  void wait(DeviceStream stream, DeviceEvent id) override {
    const std::unique_lock lock = locked(mutex_);
    check_usable();
    enqueue(stream, {.kind = Operation::Kind::wait, .mark = event_of(id)});
  }

  bool is_done(DeviceEvent id) override {
    const std::unique_lock lock = locked(mutex_);
    check_usable();
    const Moment& moment = *event_of(id);
    return moment.is_there && Clock::now() >= moment.at;
  }

  void synchronize(DeviceEvent id) override {
    std::unique_lock lock = locked(mutex_);
    check_usable();
    call(EmulatedCall::wait);
    const Mark mark = event_of(id);
    moved_.wait(lock, kSpin, [&] { return mark->is_there; });
    wait_beside(lock, mark->at);
    check_usable();
  }

  void synchronize(DeviceStream id) override {
    std::unique_lock lock = locked(mutex_);
    check_usable();
    call(EmulatedCall::wait);
    wait_until_empty(lock, stream_of(id));
    check_usable();
  }

  bool drain() noexcept override {
    std::unique_lock lock = locked(mutex_);
    wait_until_empty(lock);
    failure_ = nullptr;
    return !lost_;
  }

  // ---- work

  void copy_to_device(DeviceAddress to, const std::byte* from, const CopyShape& shape, DeviceStream stream) override {
    copy(shape, stream, to, shape.to_stride, reinterpret_cast<std::byte*>(to.value), from, from, shape.from_stride, EngineName::down,
         TraceKind::copy_down);
  }

  // Beside the copies: at the link's rate, not one at a time, and no copy for a trace.
  void fetch(DeviceAddress to, const std::byte* from, const CopyShape& shape, DeviceStream stream) override {
    std::unique_lock lock = locked(mutex_);
    if (!is_pinned(from, extent(shape, shape.from_stride))) {
      lock.unlock();
      return copy_to_device(to, from, shape, stream);
    }
    check_usable();
    check_place(to, extent(shape, shape.to_stride));
    const bool fails = refused(EmulatedCall::copy, DeviceFailure::copy);
    enqueue(stream, {.work = [=] { copy_rows(reinterpret_cast<std::byte*>(to.value), from, shape); },
                     .engine = EngineName::fetch,
                     .bytes = shape.rows * shape.row_bytes,
                     .bytes_per_s = options_.link_bytes_per_s,
                     .failure = fails ? std::optional(DeviceFailure::copy) : std::nullopt});
  }

  void copy_to_host(std::byte* to, DeviceAddress from, const CopyShape& shape, DeviceStream stream) override {
    copy(shape, stream, from, shape.from_stride, to, reinterpret_cast<const std::byte*>(from.value), to, shape.to_stride,
         properties_.copy_engines > 1 ? EngineName::up : EngineName::down, TraceKind::copy_up);
  }

  void copy_on_device(DeviceAddress to, DeviceAddress from, const CopyShape& shape, DeviceStream stream) override {
    const std::unique_lock lock = locked(mutex_);
    check_usable();
    check_place(to, extent(shape, shape.to_stride));
    check_place(from, extent(shape, shape.from_stride));
    const bool fails = refused(EmulatedCall::copy, DeviceFailure::copy);
    enqueue(stream,
            {.work = [=] { copy_rows(reinterpret_cast<std::byte*>(to.value), reinterpret_cast<const std::byte*>(from.value), shape); },
             .failure = fails ? std::optional(DeviceFailure::copy) : std::nullopt});
  }

  void set_trace(Trace* trace) override {
    const std::unique_lock lock = locked(mutex_);
    trace_ = trace;
  }

  using Device::launch;
  void launch(DeviceKernel kernel, const void* arguments, DeviceStream stream) override {
    const std::unique_lock lock = locked(mutex_);
    check_usable();
    const DeviceKernelInfo& info = device_kernel(kernel);
    accesses_.clear();
    info.accesses(arguments, accesses_);
    for (const DeviceAccess& access : accesses_) check_place(access.begin, (access.rows - 1) * access.stride + access.row_bytes);
    const bool fails = refused(EmulatedCall::launch, DeviceFailure::launch);
    const auto* bytes = static_cast<const std::byte*>(arguments);
    enqueue(stream, {.work =
                         [this, kernel, trace = trace_, copied = std::vector<std::byte>(bytes, bytes + info.argument_bytes)] {
                           const TraceSpan span(trace, TraceKind::kernel, static_cast<std::uint32_t>(kernel));
                           run_emulated_kernel(kernel, copied.data(), options_.isa);
                         },
                     .failure = fails ? std::optional(DeviceFailure::launch) : std::nullopt});
  }

 private:
  struct Allocation {
    PageBuffer memory;
    std::uint64_t counted;
  };
  // Of one recording: has the stream come there, and when is that on the link's clock? A recording that is followed by another on a different stream may come later than that one.
  struct Moment {
    bool is_there = false;
    Clock::time_point at{};
  };
  using Mark = std::shared_ptr<Moment>;
  enum class EngineName : std::uint8_t { kernels, down, up, fetch };
  struct Operation {
    enum class Kind { work, record, wait } kind = Kind::work;
    std::function<void()> work{};
    EngineName engine = EngineName::kernels;
    std::size_t bytes = 0;  // of a copy from or to the host
    std::optional<double> bytes_per_s{};
    Trace* trace = nullptr;
    TraceKind trace_kind{};
    std::optional<DeviceFailure> failure{};  // it fails when it runs
    Mark mark{};
    Clock::time_point enqueued{};
  };
  struct Stream {
    std::deque<Operation> queue;  // its first is under way
    bool running = false;         // an engine has it
    Clock::time_point at{};       // what it has done is done then; copies move their bytes at once and take as long as the link says
  };
  // A thread that does one thing at a time, of the streams that were given to it in turn.
  struct Engine {
    std::deque<Stream*> streams;
    Waiting given;
    std::chrono::microseconds spin = kSpin;
    Clock::time_point free_at{};  // of its own
    std::thread thread;
  };

  // ---- the mutex is held in all that follows

  Stream& stream_of(DeviceStream id) { return streams_.at(static_cast<std::size_t>(id)); }
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

  void wait_beside(std::unique_lock<std::mutex>& lock, Clock::time_point moment) {
    lock.unlock();
    wait_until(moment);
    lock_soon(lock);
  }
  void wait_until_empty(std::unique_lock<std::mutex>& lock, Stream& stream) {
    moved_.wait(lock, kSpin, [&] { return stream.queue.empty(); });
    wait_beside(lock, stream.at);
  }
  void wait_until_empty(std::unique_lock<std::mutex>& lock) {
    for (Stream& stream : streams_) wait_until_empty(lock, stream);
  }

  void enqueue(DeviceStream id, Operation operation) {
    operation.enqueued = Clock::now();
    stream_of(id).queue.push_back(std::move(operation));
    settle();
  }

  void copy(const CopyShape& shape, DeviceStream id, DeviceAddress device, std::size_t device_stride, std::byte* to, const std::byte* from,
            const std::byte* host, std::size_t host_stride, EngineName engine, TraceKind kind) {
    std::unique_lock lock = locked(mutex_);
    check_usable();
    check_place(device, extent(shape, device_stride));
    const bool fails = refused(EmulatedCall::copy, DeviceFailure::copy), pinned = is_pinned(host, extent(shape, host_stride));
    std::optional<double> rate = options_.link_bytes_per_s;
    if (rate && !pinned) *rate /= 2;
    enqueue(id, {.work = [=] { copy_rows(to, from, shape); },
                 .engine = engine,
                 .bytes = shape.rows * shape.row_bytes,
                 .bytes_per_s = rate,
                 .trace = trace_,
                 .trace_kind = kind,
                 .failure = fails ? std::optional(DeviceFailure::copy) : std::nullopt});
    if (pinned) return;
    wait_until_empty(lock, stream_of(id));
    check_usable();
  }

  // Everything that can begin or be passed now.
  void settle() {
    for (bool moved = true; moved;) {
      moved = false;
      for (Stream& stream : streams_)
        while (!stream.running && !stream.queue.empty() && pass(stream)) moved = true;
    }
  }

  // The first operation of a stream; false: it has to wait.
  bool pass(Stream& stream) {
    Operation& operation = stream.queue.front();
    stream.at = std::max(stream.at, operation.enqueued);
    switch (operation.kind) {
      case Operation::Kind::record:
        *operation.mark = {true, stream.at};
        break;
      case Operation::Kind::wait:
        if (!operation.mark->is_there) return false;
        stream.at = std::max(stream.at, operation.mark->at);
        break;
      case Operation::Kind::work:
        if (lost_ || failure_) break;
        Engine& engine = engine_of(operation);
        if (!moves_at_once(operation, engine)) {
          stream.running = true;
          engine.streams.push_back(&stream);
          engine.given.happened();
          return true;
        }
        fail(perform(stream, operation, begin_of(stream, operation)));
    }
    done(stream);
    return true;
  }

  bool moves_at_once(const Operation& operation, const Engine& engine) const {
    const bool few = operation.engine == EngineName::fetch || operation.engine == EngineName::up;
    return few && operation.bytes <= kFewBytes && engine.streams.empty();
  }

  void done(Stream& stream) {
    stream.queue.pop_front();
    moved_.happened();
  }

  // Fetches go beside each other, copies one behind the other.
  Clock::time_point begin_of(const Stream& stream, const Operation& operation) {
    return operation.engine == EngineName::fetch ? stream.at : std::max(stream.at, engine_of(operation).free_at);
  }

  Engine& engine_of(const Operation& operation) { return engines_[static_cast<std::size_t>(operation.engine)]; }

  void fail(const std::exception_ptr& failure) {
    if (failure && !failure_) failure_ = failure;
  }

  void serve(Engine& engine) {
    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);  // nanoseconds; what is usual, 50 microseconds, is longer than many copies
    std::unique_lock lock = locked(mutex_);
    for (;;) {
      engine.given.wait(lock, engine.spin, [&] { return stopping_ || !engine.streams.empty(); });
      if (engine.streams.empty()) return;
      Stream& stream = *engine.streams.front();
      if (!lost_ && !failure_) {
        Operation& operation = stream.queue.front();
        const Clock::time_point begin = begin_of(stream, operation);
        lock.unlock();
        wait_until(begin);
        const std::exception_ptr failure = perform(stream, operation, begin);
        lock_soon(lock);
        fail(failure);
      }
      engine.streams.pop_front();
      stream.running = false;
      done(stream);
      settle();
    }
  }

  // ---- without it, too: nobody else looks at this stream's time or at its engine's meanwhile

  std::exception_ptr perform(Stream& stream, Operation& operation, Clock::time_point begin) {
    try {
      if (operation.failure) throw failed(*operation.failure);
      const std::uint64_t began = operation.trace ? operation.trace->now_ns() : 0;
      operation.work();
      stream.at = Clock::now();
      if (operation.bytes_per_s)
        stream.at = std::max(stream.at, begin + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(
                                                    static_cast<double>(operation.bytes) / *operation.bytes_per_s)));
      engine_of(operation).free_at = stream.at;
      if (operation.trace) operation.trace->add_until(stream.at, operation.trace_kind, began, 0, operation.bytes);
    } catch (...) { return std::current_exception(); }
    return nullptr;
  }

  const EmulatedDeviceOptions options_;
  const DeviceProperties properties_;
  mutable std::mutex mutex_;
  Waiting moved_;  // streams came further
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
  std::deque<Stream> streams_;  // addresses stay
  std::array<Engine, 4> engines_;
};

}  // namespace

std::unique_ptr<Device> make_emulated_device(EmulatedDeviceOptions options) { return std::make_unique<EmulatedDevice>(std::move(options)); }

}  // namespace leafcutter::offload
