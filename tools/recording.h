// A run under observation: the trace, memory over time, and where its phases begin. What `run --trace` writes and `profile` shows.
#pragma once

#include <cstdint>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "compress/leaf_index.h"
#include "offload/trace.h"

namespace leafcutter::tools {

struct MemorySample {
  std::uint64_t at_ns = 0, bytes = 0;
};

struct Phase {
  std::string name;  // "load", "prompt", "decode"
  std::uint64_t begin_ns = 0, end_ns = 0;
};

class Recording {
 public:
  Recording();  // begins to sample what the process is charged with, ten times a second
  ~Recording();

  offload::Trace& trace() { return trace_; }
  void begin_phase(const std::string& name);  // ends the one before
  void finish();                              // ends the last phase and the sampling; then the rest may be asked for

  const std::vector<Phase>& phases() const { return phases_; }
  const std::vector<MemorySample>& memory() const { return memory_; }
  const std::vector<offload::TraceEvent>& events() const { return events_; }
  std::uint64_t dropped() const { return trace_.dropped(); }

 private:
  offload::Trace trace_;
  std::vector<Phase> phases_;
  std::vector<MemorySample> memory_;
  std::vector<offload::TraceEvent> events_;
  std::mutex mutex_;
  std::jthread sampler_;
};

// Lanes that overlapping reads need; read i of `events` is drawn in lane result[i] (0 for other kinds).
std::vector<std::uint32_t> lanes_of(const std::vector<offload::TraceEvent>& events);

// "layer 3 attention, chunk 17" and the like.
std::string event_text(const compress::LeafIndex& index, const offload::TraceEvent& event);

// The trace event format that chrome://tracing and Perfetto read (JSON object form, complete events in microseconds). Throws Error(io).
void write_chrome_trace(const std::string& path, const Recording& recording, const compress::LeafIndex& index);

// Did steps run on a device that says when its copies and kernels run?
bool has_device_events(const Recording& recording);

// Of each phase: seconds, busy seconds of disk, checks and compute, waits by cause, and overlap = seconds / the busiest of them (1: everything hides behind it). With events of a device compute is that of
// its kernels, and there are busy seconds of the link (to the device; from it) and of the host's share, too.
nlohmann::ordered_json phases_json(const Recording& recording);

}  // namespace leafcutter::tools
