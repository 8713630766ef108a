#include "tools/recording.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>

#include "base/file.h"
#include "base/size_text.h"
#include "offload/device_kernels.h"
#include "offload/host_memory.h"

namespace leafcutter::tools {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;
using offload::TraceEvent;
using offload::TraceKind;

constexpr auto kSampleEvery = std::chrono::milliseconds(100);

// Rows of the picture, by kind; reads have one for each that overlaps.
enum Row : int { kSteps = 1, kModules = 2, kWaits = 3, kDevice = 4, kHost = 5, kDown = 6, kUp = 7, kChecks = 8, kReads = 10 };

int row_of(const TraceEvent& event, std::uint32_t lane) {
  switch (event.kind) {
    case TraceKind::read:
      return kReads + static_cast<int>(lane);
    case TraceKind::check:
      return kChecks;
    case TraceKind::wait_room:
    case TraceKind::wait_read:
    case TraceKind::wait_check:
      return kWaits;
    case TraceKind::step:
    case TraceKind::load:
      return kSteps;
    case TraceKind::copy_down:
      return kDown;
    case TraceKind::copy_up:
      return kUp;
    case TraceKind::kernel:
      return kDevice;
    case TraceKind::host:
      return kHost;
    default:
      return kModules;
  }
}

}  // namespace

Recording::Recording()
    : sampler_([this](const std::stop_token& stop) {
        std::mutex asleep;
        std::condition_variable_any wake;
        std::unique_lock lock(asleep);
        do {
          const MemorySample sample{trace_.now_ns(), offload::charged_bytes()};
          const std::lock_guard guard(mutex_);
          memory_.push_back(sample);
        } while (!wake.wait_for(lock, stop, kSampleEvery, [&] { return stop.stop_requested(); }));
      }) {}

Recording::~Recording() = default;

void Recording::begin_phase(const std::string& name) {
  const std::uint64_t now = trace_.now_ns();
  if (!phases_.empty()) phases_.back().end_ns = now;
  phases_.push_back({name, now, 0});
}

void Recording::finish() {
  if (!phases_.empty()) phases_.back().end_ns = trace_.now_ns();
  sampler_.request_stop();
  sampler_.join();
  memory_.push_back({trace_.now_ns(), offload::charged_bytes()});
  events_ = trace_.events();
}

std::vector<std::uint32_t> lanes_of(const std::vector<TraceEvent>& events) {
  std::vector<std::uint32_t> lanes(events.size(), 0);
  std::vector<std::uint64_t> free_at;  // per lane
  for (std::size_t i = 0; i < events.size(); i++) {
    if (events[i].kind != TraceKind::read) continue;
    std::uint32_t lane = 0;
    while (lane < free_at.size() && free_at[lane] > events[i].begin_ns) lane++;
    if (lane == free_at.size()) free_at.push_back(0);
    free_at[lane] = events[i].end_ns;
    lanes[i] = lane;
  }
  return lanes;
}

std::string event_text(const compress::LeafIndex& index, const TraceEvent& event) {
  switch (event.kind) {
    case TraceKind::read:
    case TraceKind::check:
    case TraceKind::wait_room:
    case TraceKind::wait_read:
    case TraceKind::wait_check: {
      const compress::ModuleEntry& module = index.modules.at(index.chunks.at(event.subject).module);
      const bool of_layer = module.kind == compress::ModuleKind::attention || module.kind == compress::ModuleKind::feed_forward;
      return fmt::format("{}{}, chunk {}", of_layer ? fmt::format("layer {} ", module.layer) : "", compress::module_kind_name(module.kind),
                         event.subject);
    }
    case TraceKind::attention:
    case TraceKind::feed_forward:
      return fmt::format("layer {} {}", event.subject, offload::trace_kind_name(event.kind));
    case TraceKind::step:
      return fmt::format("step of {} row{}", event.subject, event.subject == 1 ? "" : "s");
    case TraceKind::copy_down:
    case TraceKind::copy_up:
      return fmt::format("{}, {}", offload::trace_kind_name(event.kind), format_bytes(event.bytes));
    case TraceKind::kernel:
      return fmt::format("kernel {}", offload::device_kernel(static_cast<offload::DeviceKernel>(event.subject)).name);
    case TraceKind::host:
      return event.subject == static_cast<std::uint32_t>(offload::HostShare::attention) ? "host: attention" : "host: products";
    default:
      return offload::trace_kind_name(event.kind);
  }
}

void write_chrome_trace(const std::string& path, const Recording& recording, const compress::LeafIndex& index) {
  const std::vector<TraceEvent>& events = recording.events();
  const std::vector<std::uint32_t> lanes = lanes_of(events);
  const auto file = create_file(path);
  std::string text = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n";
  std::uint64_t written = 0;
  const auto put = [&](const json& event) {
    text += event.dump() + ",\n";
    if (text.size() < (1u << 20)) return;
    file->write_at(written, std::as_bytes(std::span(text)));
    written += text.size();
    text.clear();
  };
  const auto name_row = [&](int row, const std::string& name) {
    put({{"ph", "M"}, {"name", "thread_name"}, {"pid", 1}, {"tid", row}, {"args", {{"name", name}}}});
    put({{"ph", "M"}, {"name", "thread_sort_index"}, {"pid", 1}, {"tid", row}, {"args", {{"sort_index", row}}}});
  };
  name_row(kSteps, "steps");
  name_row(kModules, "modules");
  name_row(kWaits, "waits of compute");
  if (has_device_events(recording)) {
    name_row(kDevice, "device computes");
    name_row(kHost, "host computes");
    name_row(kDown, "link, to the device");
    name_row(kUp, "link, from the device");
  }
  name_row(kChecks, "checks");
  const std::uint32_t reads = lanes.empty() ? 0 : *std::max_element(lanes.begin(), lanes.end()) + 1;
  for (std::uint32_t lane = 0; lane < reads; lane++) name_row(kReads + static_cast<int>(lane), fmt::format("disk, read {}", lane + 1));
  for (std::size_t i = 0; i < events.size(); i++) {
    const TraceEvent& e = events[i];
    put({{"ph", "X"},
         {"name", event_text(index, e)},
         {"cat", offload::trace_kind_name(e.kind)},
         {"pid", 1},
         {"tid", row_of(e, lanes[i])},
         {"ts", static_cast<double>(e.begin_ns) * 1e-3},
         {"dur", static_cast<double>(e.end_ns - e.begin_ns) * 1e-3},
         {"args", {{"bytes", e.bytes}}}});
  }
  for (const MemorySample& sample : recording.memory())
    put({{"ph", "C"},
         {"name", "memory"},
         {"pid", 1},
         {"ts", static_cast<double>(sample.at_ns) * 1e-3},
         {"args", {{"MiB", static_cast<double>(sample.bytes) / 1048576}}}});
  text += json({{"ph", "M"}, {"name", "process_name"}, {"pid", 1}, {"args", {{"name", "leafcutter"}}}}).dump() + "\n]}\n";
  file->write_at(written, std::as_bytes(std::span(text)));
  file->commit();
}

bool has_device_events(const Recording& recording) {
  return std::any_of(recording.events().begin(), recording.events().end(), [](const TraceEvent& e) { return e.kind == TraceKind::kernel; });
}

ordered_json phases_json(const Recording& recording) {
  ordered_json phases = ordered_json::array();
  const bool on_device = has_device_events(recording);
  for (const Phase& phase : recording.phases()) {
    const offload::TraceSummary s = offload::summarize(recording.events(), phase.begin_ns, phase.end_ns);
    const double waits =
        s.of(TraceKind::wait_room).busy_seconds + s.of(TraceKind::wait_read).busy_seconds + s.of(TraceKind::wait_check).busy_seconds;
    const double modules = s.of(TraceKind::embedding).busy_seconds + s.of(TraceKind::attention).busy_seconds +
                           s.of(TraceKind::feed_forward).busy_seconds + s.of(TraceKind::head).busy_seconds;
    const double disk = s.of(TraceKind::read).busy_seconds + s.of(TraceKind::load).busy_seconds,
                 check = s.of(TraceKind::check).busy_seconds, link = s.of(TraceKind::copy_down).busy_seconds,
                 up = s.of(TraceKind::copy_up).busy_seconds, host = s.of(TraceKind::host).busy_seconds,
                 compute = on_device ? s.of(TraceKind::kernel).busy_seconds : std::max(0.0, modules - waits);
    const double most = std::max({disk, check, compute, link, up, host});
    phases.push_back({{"phase", phase.name},
                      {"seconds", s.wall_seconds},
                      {"disk_s", disk},
                      {"check_s", check},
                      {"compute_s", compute},
                      {"overlap", most > 0 ? s.wall_seconds / most : 0},
                      {"steps", s.of(TraceKind::step).events},
                      {"read_bytes", s.of(TraceKind::read).bytes + s.of(TraceKind::load).bytes},
                      {"waits",
                       {{"room", s.of(TraceKind::wait_room).busy_seconds},
                        {"disk", s.of(TraceKind::wait_read).busy_seconds},
                        {"check", s.of(TraceKind::wait_check).busy_seconds}}}});
    if (!on_device) continue;
    phases.back()["link_s"] = link;
    phases.back()["link_up_s"] = up;
    phases.back()["host_s"] = host;
    phases.back()["copied_bytes"] = s.of(TraceKind::copy_down).bytes;
  }
  return phases;
}

}  // namespace leafcutter::tools
