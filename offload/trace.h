// What happened when: reads, checks, waits, modules at work. Off unless somebody asks for it.
//
// All memory is taken when the trace is made; adding an event is a few nanoseconds and takes none. Events past the capacity are counted, not kept.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <vector>

#include "base/page_buffer.h"

namespace leafcutter::offload {

enum class TraceKind : std::uint8_t {
  read,          // a chunk from disk, from the request to the last byte
  check,         // hash and codec of a chunk
  wait_room,     // compute waits, and the ring had no room to ask for the chunk any earlier
  wait_read,     // compute waits for the disk
  wait_check,    // compute waits for a check
  embedding,     // rows looked up
  attention,     // the attention part of a layer, waits inside it included
  feed_forward,  // the feed-forward part of a layer
  head,          // logits
  load,          // residents
  step,          // a whole step
  copy_down,     // host memory to device
  copy_up,       // device to host memory
  kernel,        // on the device
  host           // the host's share of a step on a device
};
constexpr std::size_t kTraceKinds = 15;
// What the host computes beside a device: the subject of `host`.
enum class HostShare : std::uint32_t { products, attention };
const char* trace_kind_name(TraceKind kind);

struct TraceEvent {
  std::uint64_t begin_ns = 0, end_ns = 0;  // since the trace was made
  std::uint32_t subject =
      0;  // chunk of read, check, wait; layer of attention and feed_forward; rows of step; which kernel (device_kernels.h)
  std::uint32_t bytes = 0;  // of read, check and copies
  TraceKind kind{};
};

// add() and add_until() are thread-safe; everything else is called when nobody adds.
class Trace {
 public:
  // Throws Error(out_of_budget).
  explicit Trace(std::size_t capacity = 200'000);

  std::uint64_t now_ns() const { return since_start(std::chrono::steady_clock::now()); }
  void add(TraceKind kind, std::uint64_t begin_ns, std::uint32_t subject, std::uint64_t bytes = 0) noexcept;
  // The same with an end that is known already, and may be to come.
  void add_until(std::chrono::steady_clock::time_point end, TraceKind kind, std::uint64_t begin_ns, std::uint32_t subject,
                 std::uint64_t bytes) noexcept;

  std::vector<TraceEvent> events() const;  // in order of their beginnings
  std::uint64_t dropped() const;
  std::uint64_t memory_bytes() const { return memory_.size(); }

 private:
  std::uint64_t since_start(std::chrono::steady_clock::time_point moment) const {
    return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(moment - start_).count());
  }

  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  PageBuffer memory_;
  TraceEvent* events_;
  const std::size_t capacity_;
  std::atomic<std::size_t> next_{0};
};

// An event from here to the end of the scope; nothing without a trace.
class TraceSpan {
 public:
  TraceSpan(Trace* trace, TraceKind kind, std::uint32_t subject, std::uint64_t bytes = 0)
      : trace_(trace), begin_(trace ? trace->now_ns() : 0), bytes_(bytes), subject_(subject), kind_(kind) {}
  ~TraceSpan() {
    if (trace_) trace_->add(kind_, begin_, subject_, bytes_);
  }
  TraceSpan(const TraceSpan&) = delete;
  TraceSpan& operator=(const TraceSpan&) = delete;

 private:
  Trace* trace_;
  std::uint64_t begin_, bytes_;
  std::uint32_t subject_;
  TraceKind kind_;
};

// How much of a stretch of time each kind was under way (at least one event of it), and all events of it added up.
struct TraceShare {
  double busy_seconds = 0, sum_seconds = 0;
  std::uint64_t events = 0, bytes = 0;
};
struct TraceSummary {
  double wall_seconds = 0;
  TraceShare share[kTraceKinds];
  const TraceShare& of(TraceKind kind) const { return share[static_cast<std::size_t>(kind)]; }
};
TraceSummary summarize(const std::vector<TraceEvent>& events, std::uint64_t begin_ns, std::uint64_t end_ns);

}  // namespace leafcutter::offload
