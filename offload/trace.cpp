#include "offload/trace.h"

#include <algorithm>
#include <limits>

namespace leafcutter::offload {

const char* trace_kind_name(TraceKind kind) {
  constexpr const char* kNames[kTraceKinds] = {
      "read", "check", "wait for room", "wait for the disk",  "wait for a check",     "embedding", "attention", "feed-forward",
      "head", "load",  "step",          "copy to the device", "copy from the device", "device",    "host"};
  return kNames[static_cast<std::size_t>(kind)];
}

Trace::Trace(std::size_t capacity)
    : memory_(capacity * sizeof(TraceEvent), "trace"), events_(reinterpret_cast<TraceEvent*>(memory_.data())), capacity_(capacity) {}

void Trace::add(TraceKind kind, std::uint64_t begin_ns, std::uint32_t subject, std::uint64_t bytes) noexcept {
  add_until(std::chrono::steady_clock::now(), kind, begin_ns, subject, bytes);
}

void Trace::add_until(std::chrono::steady_clock::time_point end, TraceKind kind, std::uint64_t begin_ns, std::uint32_t subject,
                      std::uint64_t bytes) noexcept {
  const std::size_t at = next_.fetch_add(1, std::memory_order_relaxed);
  if (at >= capacity_) return;
  events_[at] = {begin_ns, since_start(end), subject,
                 static_cast<std::uint32_t>(std::min<std::uint64_t>(bytes, std::numeric_limits<std::uint32_t>::max())), kind};
}

std::vector<TraceEvent> Trace::events() const {
  std::vector<TraceEvent> all(events_, events_ + std::min(next_.load(), capacity_));
  std::stable_sort(all.begin(), all.end(), [](const TraceEvent& a, const TraceEvent& b) { return a.begin_ns < b.begin_ns; });
  return all;
}

std::uint64_t Trace::dropped() const { return next_.load() - std::min(next_.load(), capacity_); }

TraceSummary summarize(const std::vector<TraceEvent>& events, std::uint64_t begin_ns, std::uint64_t end_ns) {
  TraceSummary summary;
  summary.wall_seconds = static_cast<double>(end_ns - begin_ns) * 1e-9;
  std::uint64_t covered[kTraceKinds] = {};  // up to here a kind was counted as busy
  for (const TraceEvent& e : events) {
    const std::uint64_t begin = std::max(e.begin_ns, begin_ns), end = std::min(e.end_ns, end_ns);
    if (begin >= end) continue;
    const auto kind = static_cast<std::size_t>(e.kind);
    TraceShare& share = summary.share[kind];
    share.events++;
    share.bytes += e.bytes;
    share.sum_seconds += static_cast<double>(end - begin) * 1e-9;
    const std::uint64_t fresh = std::max(begin, covered[kind]);
    if (end > fresh) share.busy_seconds += static_cast<double>(end - fresh) * 1e-9;
    covered[kind] = std::max(covered[kind], end);
  }
  return summary;
}

}  // namespace leafcutter::offload
