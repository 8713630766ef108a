#include "offload/virtual_device.h"

#include <algorithm>
#include <array>
#include <deque>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "offload/card_costs.h"
#include "offload/emulated_device.h"
#include "offload/virtual_disk.h"

namespace leafcutter::offload {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();
constexpr double kNothing = 1e-12;  // seconds, bytes: sums of fractions do not come out at zero
// As in card_simulator.cpp: products of the host keep at least this share of its memory, whatever is copied.
constexpr double kLeastShare = 0.05;

// The table lies in device memory, which here is the host's, and is there: the stream has been waited for.
SeenKeys keys_of(const AttendLaunch& a) {
  const auto* rows = reinterpret_cast<const DeviceAttentionRow*>(a.table.value);
  SeenKeys keys;
  for (std::uint64_t r = 0; r < a.rows; r++) {
    keys.most = std::max(keys.most, rows[r].visible);
    keys.all += rows[r].visible;
  }
  return keys;
}

std::unique_ptr<Device> emulation_of(const VirtualDeviceOptions& options) {
  EmulatedDeviceOptions emulated;
  emulated.name = options.name;
  emulated.memory_bytes = options.memory_bytes;
  emulated.copy_engines = static_cast<std::size_t>(options.card.copy_engines);
  emulated.isa = options.isa;
  return make_emulated_device(std::move(emulated));
}

class VirtualDevice final : public Device, private ReadClock {
 public:
  explicit VirtualDevice(const VirtualDeviceOptions& options) : card_(options.card), host_(options.host), real_(emulation_of(options)) {}

  const DeviceProperties& properties() const override { return real_->properties(); }
  DeviceAddress allocate(std::size_t bytes, const std::string& what) override { return real_->allocate(bytes, what); }
  void free(DeviceAddress address) noexcept override {
    run_empty();
    real_->free(address);
  }
  std::byte* allocate_pinned(std::size_t bytes) override { return real_->allocate_pinned(bytes); }
  void free_pinned(std::byte* memory) noexcept override {
    run_empty();
    real_->free_pinned(memory);
  }
  bool pin(std::span<std::byte> memory) override { return real_->pin(memory); }
  void unpin(std::span<std::byte> memory) noexcept override {
    run_empty();
    real_->unpin(memory);
  }
  std::uint64_t allocated_bytes() const override { return real_->allocated_bytes(); }
  std::uint64_t most_allocated_bytes() const override { return real_->most_allocated_bytes(); }

  DeviceStream make_stream() override {
    streams_.emplace_back();
    return real_->make_stream();
  }
  DeviceEvent make_event() override {
    events_.push_back(std::make_shared<bool>(true));
    return real_->make_event();
  }
  void record(DeviceEvent event, DeviceStream stream) override {
    real_->record(event, stream);
    const Mark mark = events_.at(static_cast<std::size_t>(event)) = std::make_shared<bool>(false);
    enqueue(stream, {.kind = Kind::record, .mark = mark});
  }
  void wait(DeviceStream stream, DeviceEvent event) override {
    real_->wait(stream, event);
    enqueue(stream, {.kind = Kind::wait, .mark = events_.at(static_cast<std::size_t>(event))});
  }
  // What is done on the clock is done; the emulation may have to catch up.
  bool is_done(DeviceEvent event) override {
    if (!*events_.at(static_cast<std::size_t>(event))) return false;
    real_->synchronize(event);
    return true;
  }
  void synchronize(DeviceEvent event) override {
    real_->synchronize(event);
    const Mark mark = events_.at(static_cast<std::size_t>(event));
    while (!*mark && advance()) {}
  }
  void synchronize(DeviceStream stream) override {
    real_->synchronize(stream);
    run_empty(stream);
  }
  bool drain() noexcept override {
    run_empty();
    return real_->drain();
  }

  void copy_to_device(DeviceAddress to, const std::byte* from, const CopyShape& shape, DeviceStream stream) override {
    real_->copy_to_device(to, from, shape, stream);
    copy(Kind::down, shape, stream);
  }
  void fetch(DeviceAddress to, const std::byte* from, const CopyShape& shape, DeviceStream stream) override {
    real_->fetch(to, from, shape, stream);
    enqueue(stream, {.kind = Kind::fetch, .left = static_cast<double>(shape.rows * shape.row_bytes) / card_.link_bytes_per_s});
  }
  void copy_to_host(std::byte* to, DeviceAddress from, const CopyShape& shape, DeviceStream stream) override {
    real_->copy_to_host(to, from, shape, stream);
    copy(card_.copy_engines > 1 ? Kind::up : Kind::down, shape, stream);
  }
  void copy_on_device(DeviceAddress to, DeviceAddress from, const CopyShape& shape, DeviceStream stream) override {
    real_->copy_on_device(to, from, shape, stream);
    enqueue(stream, {.kind = Kind::kernel, .left = copy_seconds(shape.rows * shape.row_bytes, card_)});
  }

  using Device::launch;
  void launch(DeviceKernel kernel, const void* arguments, DeviceStream stream) override {
    SeenKeys keys;
    if (kernel == DeviceKernel::attend) {
      real_->synchronize(stream);
      keys = keys_of(*static_cast<const AttendLaunch*>(arguments));
    }
    const double seconds = kernel_seconds(kernel, arguments, card_, keys);
    real_->launch(kernel, arguments, stream);
    enqueue(stream, {.kind = Kind::kernel, .left = seconds});
  }

  void host_worked(const HostWork& work) override {
    double seconds = sampling_seconds(work.logits) + static_cast<double>(work.lookups) * host_.lookup_s;
    if (work.bytes > 0) seconds += host_.meeting_s + host_product_seconds({work.bytes, work.int8_operations, work.f32_operations}, host_);
    if (work.kv_bytes > 0)
      seconds += host_.meeting_s + host_attention_seconds({work.kv_bytes, work.attention_operations, work.attention_rows}, host_);
    host_left_ = seconds;
    host_demand_ = seconds > 0 ? (work.bytes + work.kv_bytes) / seconds : 0;
    while (host_left_ > kNothing && advance()) {}
    host_left_ = 0;
  }
  ReadClock* play_reads(const HostReads& reads) override {
    disk_.emplace(reads, host_);
    settle();
    return this;
  }
  void set_trace(Trace* trace) override { real_->set_trace(trace); }
  std::optional<double> clock_seconds() const override { return now_; }

 private:
  using Mark = std::shared_ptr<bool>;  // of one recording: has the stream come there?
  enum class Kind : std::uint8_t { down, up, kernel, fetch, record, wait };
  static constexpr std::size_t kEngines = 4;  // down, up, kernel, fetch
  struct Operation {
    Kind kind;
    double left = 0;     // bytes of a copy, seconds of a kernel or fetch
    double latency = 0;  // of a copy, before its first byte
    Mark mark{};
    double came = 0;  // it heads its stream since
  };
  struct Stream {
    std::deque<Operation> queue;
  };

  void enqueue(DeviceStream id, Operation operation) {
    Stream& stream = streams_.at(static_cast<std::size_t>(id));
    operation.came = now_;
    stream.queue.push_back(std::move(operation));
    settle();
  }

  // Memory that is not pinned halves the rate and makes the call wait, as the emulation has it; here all of what is copied in a step is pinned.
  void copy(Kind kind, const CopyShape& shape, DeviceStream stream) {
    enqueue(stream, {.kind = kind, .left = static_cast<double>(shape.rows * shape.row_bytes)});
  }

  void pop(Stream& stream) {
    stream.queue.pop_front();
    if (!stream.queue.empty()) stream.queue.front().came = now_;
  }

  // ---- reads

  bool is_ready() const override { return disk_->is_ready(); }
  void acquire() override {
    while (!disk_->is_ready())
      if (!advance()) throw std::logic_error("no room in the ring for the next chunk: too much is held");
    disk_->acquire();
  }
  void release(std::size_t position) override {
    disk_->release(position);
    settle();
  }
  // Reads that are under way end first, as the pager's do.
  void reset() override {
    disk_->pause();
    settle();
    while (!disk_->settled() && advance()) {}
    disk_->start_over();
    settle();
  }

  // Everything that can begin or be passed now.
  void settle() {
    if (disk_) disk_->settle(now_);
    for (bool moved = true; moved;) {
      moved = false;
      for (Stream& stream : streams_)
        while (!stream.queue.empty()) {
          Operation& head = stream.queue.front();
          if (head.kind == Kind::record)
            *head.mark = true;
          else if (head.kind != Kind::wait || !*head.mark)
            break;
          pop(stream);
          moved = true;
        }
    }
    for (std::size_t e = 0; e < kEngines; e++) {
      if (busy_[e]) continue;
      for (Stream& stream : streams_) {
        if (stream.queue.empty() || static_cast<std::size_t>(stream.queue.front().kind) != e) continue;
        if (!busy_[e] || stream.queue.front().came < busy_[e]->queue.front().came) busy_[e] = &stream;
      }
      if (busy_[e] && e != static_cast<std::size_t>(Kind::kernel))
        busy_[e]->queue.front().latency = idle_since_[e] < now_ || now_ == 0 ? card_.link_latency_s : 0;
    }
  }

  // ---- time

  double arriving() const { return disk_ ? disk_->arriving_bytes_per_s() : 0; }

  double copy_rate(Kind kind) const {
    const Stream* stream = busy_[static_cast<std::size_t>(kind)];
    if (!stream || stream->queue.front().latency > kNothing) return 0;
    const double memory = host_.dram_bytes_per_s;
    return std::min(card_.link_bytes_per_s, std::max((1 - kLeastShare) * memory - arriving(), kLeastShare * memory));
  }

  double host_speed() const {
    if (host_demand_ <= 0) return 1;
    const double moved = copy_rate(Kind::down) + copy_rate(Kind::up) + arriving();
    return std::min(1.0, std::max(host_.dram_bytes_per_s - moved, kLeastShare * host_.dram_bytes_per_s) / host_demand_);
  }

  // To the next moment at which something ends; false when nothing is under way.
  bool advance() {
    const double rates[] = {copy_rate(Kind::down), copy_rate(Kind::up), 1, 1}, speed = host_speed();
    double span = host_left_ > kNothing ? host_left_ / speed : kNever;
    for (std::size_t e = 0; e < kEngines; e++) {
      if (!busy_[e]) continue;
      const Operation& head = busy_[e]->queue.front();
      span = std::min(span, head.latency > kNothing ? head.latency : head.left / rates[e]);
    }
    if (disk_) span = std::min(span, std::max(0.0, disk_->next_moment() - now_));
    if (span == kNever) return false;
    now_ += span;
    if (disk_) disk_->advance(now_);
    if (host_left_ > kNothing) host_left_ -= span * speed;
    for (std::size_t e = 0; e < kEngines; e++) {
      if (!busy_[e]) continue;
      Operation& head = busy_[e]->queue.front();
      if (head.latency > kNothing) {
        head.latency -= span;
        continue;
      }
      head.left -= span * rates[e];
      if (head.left > kNothing * std::max(1.0, rates[e])) continue;
      idle_since_[e] = now_;
      Stream& stream = *std::exchange(busy_[e], nullptr);
      pop(stream);
    }
    settle();
    return true;
  }

  void run_empty() {
    for (const Stream& stream : streams_)
      while (!stream.queue.empty() && advance()) {}
  }
  void run_empty(DeviceStream id) {
    const Stream& stream = streams_.at(static_cast<std::size_t>(id));
    while (!stream.queue.empty() && advance()) {}
  }

  const Card card_;
  const CardHost host_;
  std::deque<Stream> streams_;  // addresses stay
  std::vector<Mark> events_;    // the last recording of each; done if there was none
  std::array<Stream*, kEngines> busy_{};
  std::array<double, kEngines> idle_since_{};
  double now_ = 0, host_left_ = 0, host_demand_ = 0;
  std::optional<VirtualDisk> disk_;  // none: nothing is read
  std::unique_ptr<Device> real_;
};

}  // namespace

std::unique_ptr<Device> make_virtual_device(const VirtualDeviceOptions& options) { return std::make_unique<VirtualDevice>(options); }

}  // namespace leafcutter::offload
