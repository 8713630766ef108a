// Streams and events for tests, without threads or clocks: what is enqueued runs as late as it may, in an order that a seed draws among all legal ones, and every access is held against those before it by vector
// clocks. Two accesses to the same bytes, one of which writes, that no stream, event or wait of the host puts in order are reported with both their names, whatever order they happened to run in. Threads of the host that
// fill memory say so (host_writes): what they fill may be no copy's that has not run. All else is called from one thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <mutex>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "offload/device_kernels.h"

namespace leafcutter::offload::test {

class OrderedStreams {
 public:
  // place: what memory an access is of, for people.
  OrderedStreams(std::uint64_t seed, std::function<std::string(const DeviceAccess&)> place)
      : place_(std::move(place)), random_(seed), clocks_{{1}} {}

  // What went wrong, in order of being enqueued; empty when nothing did.
  const std::vector<std::string>& errors() const { return errors_; }
  std::string first_error() const {
    const std::lock_guard lock(mutex_);
    return errors_.empty() ? "" : errors_.front();
  }
  void add_error(std::string error) {
    const std::lock_guard lock(mutex_);
    errors_.push_back(std::move(error));
  }
  std::size_t operations() const { return count_; }

  std::size_t add_stream() {
    streams_.emplace_back();
    for (Clock& clock : clocks_) clock.resize(streams_.size() + 1);
    clocks_.push_back(clocks_[0]);
    return streams_.size() - 1;
  }
  std::size_t add_event() {
    events_.push_back({});
    return events_.size() - 1;
  }
  void record(std::size_t id, std::size_t stream) {
    Event& event = events_.at(id);
    event.after = ++streams_.at(stream).enqueued;
    event.stream = stream;
    event.clock = clock_of(stream);
    streams_[stream].queue.push_back({});
  }
  void wait(std::size_t stream, std::size_t id) {
    const Event& event = events_.at(id);
    if (event.after == 0) return;
    join(clock_of(stream), event.clock);
    streams_.at(stream).enqueued++;
    streams_[stream].queue.push_back({.wait_stream = event.stream, .wait_for = event.after});
  }
  bool is_done(std::size_t id) {
    for (std::size_t steps = random_() % 3; steps > 0 && run_one(); steps--) {}
    const Event& event = events_.at(id);
    if (event.after > 0 && streams_[event.stream].done < event.after) return false;
    seen(event.clock);
    return true;
  }
  void synchronize_event(std::size_t id) {
    const Event event = events_.at(id);
    if (event.after > 0) run_until(event.stream, event.after);
    seen(event.clock);
  }
  void synchronize_stream(std::size_t stream) {
    run_until(stream, streams_.at(stream).enqueued);
    seen(clock_of(stream));
  }
  void drain() {
    while (run_one()) {}
    for (std::size_t s = 0; s < streams_.size(); s++) seen(clocks_[s + 1]);
  }

  std::string named(const std::string& what, std::size_t stream) const {
    return what + " #" + std::to_string(count_) + " (stream " + std::to_string(stream) + ")";
  }

  // Runs `write`, which writes to this memory of the host, on any thread: a read from a file.
  template <class Write>
  auto host_writes(std::span<std::byte> memory, Write&& write) {
    const DeviceAccess range{{reinterpret_cast<std::uint64_t>(memory.data())}, 1, memory.size(), memory.size(), true};
    std::list<DeviceAccess>::iterator place;
    {
      const std::lock_guard lock(mutex_);
      for (const Access& earlier : log_)
        if (overlap(range, earlier.range)) report(kHostWrite, range, earlier.name, earlier.range);
      place = host_writes_.insert(host_writes_.end(), range);
    }
    const auto end = [&] {
      const std::lock_guard lock(mutex_);
      host_writes_.erase(place);
    };
    try {
      auto result = write();
      end();
      return result;
    } catch (...) {
      end();
      throw;
    }
  }

  // May something that was enqueued still use these bytes?
  bool in_use(const DeviceAccess& range) const {
    return std::any_of(log_.begin(), log_.end(), [&](const Access& a) { return overlap(a.range, range); });
  }

  void enqueue(std::size_t stream, const std::string& name, const std::vector<DeviceAccess>& accesses, std::function<void()> work) {
    const std::lock_guard lock(mutex_);
    Clock& clock = clock_of(stream);
    join(clock, clocks_[0]);  // what the host knows to be done comes before
    const std::size_t agent = stream + 1;
    const std::uint64_t at = ++clock[agent];
    for (const DeviceAccess& range : accesses) {
      for (const Access& earlier : log_) {
        const bool ordered = earlier.agent == agent || clock[earlier.agent] >= earlier.at;
        if (!ordered && (range.write || earlier.range.write) && overlap(range, earlier.range))
          report(name, range, earlier.name, earlier.range);
      }
      for (const DeviceAccess& write : host_writes_)
        if (overlap(range, write)) report(name, range, kHostWrite, write);
    }
    for (const DeviceAccess& range : accesses) log_.push_back({range, agent, at, name});
    streams_.at(stream).enqueued++;
    streams_[stream].queue.push_back({.work = std::move(work)});
    count_++;
  }

 private:
  static constexpr const char* kHostWrite = "a read from disk";
  using Clock = std::vector<std::uint64_t>;  // of each agent, the host first, then the streams: how much of it has come before

  struct Access {
    DeviceAccess range;
    std::size_t agent = 0;
    std::uint64_t at = 0;
    std::string name;
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

  void report(const std::string& name, const DeviceAccess& range, const std::string& earlier_name, const DeviceAccess& earlier) {
    errors_.push_back(name + (range.write ? " writes" : " reads") + " bytes that " + earlier_name + (earlier.write ? " writes" : " reads") +
                      ", and nothing puts them in order: " + place_(range));
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

  Clock& clock_of(std::size_t stream) { return clocks_.at(stream + 1); }

  // The host has waited for all this. What it knows to be done comes before all that it will enqueue.
  void seen(const Clock& clock) {
    const std::lock_guard lock(mutex_);
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
    stream.done++;
    if (operation.work) operation.work();
    return true;
  }

  void run_until(std::size_t stream, std::uint64_t operations) {
    while (streams_[stream].done < operations)
      if (!run_one()) throw std::logic_error("the host waits for what can never run");
  }

  const std::function<std::string(const DeviceAccess&)> place_;
  std::mt19937_64 random_;
  std::vector<Stream> streams_;
  std::vector<Event> events_;
  std::vector<Clock> clocks_;
  mutable std::mutex mutex_;             // of the next three
  std::vector<Access> log_;              // what the host does not know to be done
  std::list<DeviceAccess> host_writes_;  // under way
  std::vector<std::string> errors_;
  std::size_t count_ = 0;
};

}  // namespace leafcutter::offload::test
