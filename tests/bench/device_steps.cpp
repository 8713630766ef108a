// Decode steps on the emulated device, real clock, beside what they can be at best: the longest of link, device and host.
//
//   device_steps FILE.leaf [--rates MB_S,MB_S,...] [--device-memory SHARE,...] [--host-share SHARE,...] [--steps N] [--repetitions N] [--threads N]
//
// For each device memory (of the file's size), share of the rest that the host computes and rate of the link: `repetitions` times `steps` steps of one row.
//   link    the copies of these steps, the same sizes in the same order, alone on a device with the same link, measured
//   device  the time in which kernels ran in these steps, copies going on beside them
//   host    the time in which the host multiplied in these steps, copies and kernels going on beside it
//   compute the time in which either of these two was at work: products come one after another, and one is done when both sides have done their share of it, so that where the sides are given this is what they take at best
// A JSON line for each combination, with medians and ranges of step / max(link, device, host), `ratio`, and of step / max(link, compute), `compute_ratio`; the last line has the medians and the worst of the medians. A card has a processor of
// its own; here its kernels keep a core busy, and the host multiplies with `threads` others: all but that one where nothing is said. Copies take what these two leave, or a share of theirs.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "offload/emulated_device.h"
#include "offload/trace.h"
#include "runtime/model.h"

namespace {

using namespace leafcutter;
using offload::TraceKind;

struct Flags {
  std::string path;
  std::vector<double> mb_s = {50, 100, 200, 400, 800}, device_memory = {0.45, 0.75}, host_share = {0, 0.3};
  std::uint64_t steps = 16, repetitions = 5, threads = 0;
};

struct Spread {
  double median = 0, least = 0, most = 0;
  explicit Spread(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    if (values.empty()) return;
    median = values[values.size() / 2];
    least = values.front();
    most = values.back();
  }
};

struct Lanes {
  double step = 0, link = 0, device = 0, host = 0, compute = 0;  // seconds a step
  double ratio() const { return step / std::max({link, device, host}); }
  double compute_ratio() const { return step / std::max(link, compute); }
};

// In which a kernel ran or the host multiplied.
double seconds_of_either(const std::vector<offload::TraceEvent>& events, std::uint64_t begin, std::uint64_t end) {
  std::uint64_t covered = begin, busy = 0;
  for (const offload::TraceEvent& e : events) {  // in order of their beginnings
    if (e.kind != TraceKind::kernel && e.kind != TraceKind::host) continue;
    const std::uint64_t from = std::max(e.begin_ns, covered), to = std::min(e.end_ns, end);
    if (from >= to) continue;
    busy += to - from;
    covered = to;
  }
  return static_cast<double>(busy) * 1e-9;
}

// Copies of these sizes one after another, and nothing else.
double seconds_of_copies(const std::vector<std::size_t>& bytes, double rate) {
  if (bytes.empty()) return 0;
  const std::size_t most = *std::max_element(bytes.begin(), bytes.end());
  offload::EmulatedDeviceOptions emulated;
  emulated.memory_bytes = most + (std::uint64_t{1} << 20);
  emulated.link_bytes_per_s = rate;
  const auto device = offload::make_emulated_device(std::move(emulated));
  const offload::DeviceAddress to = device->allocate(most, "copies");
  const std::byte* from = device->allocate_pinned(most);
  const offload::DeviceStream stream = device->make_stream();
  const offload::Trace clock(1);
  const std::uint64_t begin = clock.now_ns();
  for (const std::size_t n : bytes) device->copy_to_device(to, from, {n}, stream);
  device->synchronize(stream);
  return static_cast<double>(clock.now_ns() - begin) * 1e-9;
}

std::vector<Lanes> measure(const Flags& flags, double rate, double device_memory, double host_share) {
  constexpr std::uint64_t kContext = 16, kBefore = 4;
  offload::Trace trace;
  offload::EmulatedDeviceOptions emulated;
  emulated.memory_bytes = static_cast<std::uint64_t>(device_memory * static_cast<double>(open_file(flags.path)->size()));
  emulated.isa = kernels::default_isa();
  emulated.link_bytes_per_s = rate;
  runtime::LoadOptions options;
  options.device = offload::make_emulated_device(std::move(emulated));
  options.host_share = host_share;
  options.ctx_size = kContext + flags.steps;
  options.prompt_positions = options.rows_per_step = kContext;
  options.without_tokenizer = true;
  options.threads = flags.threads;
  options.pager.trace = &trace;
  const auto model = runtime::Model::load(flags.path, options);
  std::vector<float> logits(model->index().model.vocab_size);
  std::vector<kernels::Ranked> best(1);
  const auto step = [&](std::uint64_t position) {
    const runtime::StepRow row{static_cast<std::uint32_t>(position * 37 % model->token_limit()), position, 0, true};
    model->step({&row, 1}, {logits, best, 1, model->token_limit()});
  };
  std::vector<std::pair<std::uint64_t, std::uint64_t>> spans;
  for (std::uint64_t r = 0; r <= flags.repetitions; r++) {  // the first one warms up
    model->truncate(0, 0);
    for (std::uint64_t i = 0; i < kBefore; i++) step(i);
    const std::uint64_t begin = trace.now_ns();
    for (std::uint64_t i = 0; i < flags.steps; i++) step(kBefore + i);
    if (r > 0) spans.emplace_back(begin, trace.now_ns());
  }
  if (trace.dropped() > 0)
    throw Error(ErrorKind::usage, "device_steps", "more events than a trace holds", "fewer --steps or --repetitions");
  std::vector<Lanes> measured;
  const std::vector<offload::TraceEvent> events = trace.events();
  const auto steps = static_cast<double>(flags.steps);
  for (const auto& [begin, end] : spans) {
    // Copies run ahead over the end of a step: those that begin in the span are as many as those that these steps use.
    std::vector<std::size_t> copies;
    for (const offload::TraceEvent& e : events)
      if (e.kind == TraceKind::copy_down && e.begin_ns >= begin && e.begin_ns < end) copies.push_back(e.bytes);
    const offload::TraceSummary all = offload::summarize(events, begin, end);
    measured.push_back({all.wall_seconds / steps, seconds_of_copies(copies, rate) / steps, all.of(TraceKind::kernel).busy_seconds / steps,
                        all.of(TraceKind::host).busy_seconds / steps, seconds_of_either(events, begin, end) / steps});
  }
  return measured;
}

std::vector<double> numbers(char* text) {
  std::vector<double> list;
  for (char* number = std::strtok(text, ","); number; number = std::strtok(nullptr, ",")) list.push_back(std::atof(number));
  return list;
}

Flags parse(int count, char** arguments) {
  Flags flags;
  for (int i = 1; i < count; i++) {
    const std::string name = arguments[i];
    if (name.rfind("--", 0) != 0) {
      flags.path = name;
      continue;
    }
    if (i + 1 == count) throw Error(ErrorKind::usage, name, "wants a value");
    char* value = arguments[++i];
    if (name == "--rates")
      flags.mb_s = numbers(value);
    else if (name == "--device-memory")
      flags.device_memory = numbers(value);
    else if (name == "--host-share")
      flags.host_share = numbers(value);
    else if (name == "--steps")
      flags.steps = std::strtoull(value, nullptr, 10);
    else if (name == "--threads")
      flags.threads = std::strtoull(value, nullptr, 10);
    else if (name == "--repetitions")
      flags.repetitions = std::strtoull(value, nullptr, 10);
    else
      throw Error(ErrorKind::usage, name, "is no option of device_steps");
  }
  if (flags.path.empty() || flags.mb_s.empty() || flags.steps == 0 || flags.repetitions == 0)
    throw Error(ErrorKind::usage, "device_steps", "wants a .leaf, rates, steps and repetitions");
  return flags;
}

void run(const Flags& flags) {
  std::vector<double> medians, compute_medians;
  for (const double device_memory : flags.device_memory)
    for (const double host_share : flags.host_share)
      for (const double mb_s : flags.mb_s) {
        const std::vector<Lanes> measured = measure(flags, mb_s * 1e6, device_memory, host_share);
        const auto spread_of = [&](auto&& value) {
          std::vector<double> values;
          for (const Lanes& lanes : measured) values.push_back(value(lanes));
          return Spread(values);
        };
        const Spread ratio = spread_of([](const Lanes& l) { return l.ratio(); });
        const Spread compute_ratio = spread_of([](const Lanes& l) { return l.compute_ratio(); });
        const auto ms = [&](auto member) { return 1e3 * spread_of([&](const Lanes& l) { return l.*member; }).median; };
        std::printf(
            R"({"device_memory": %.2f, "host_share": %.1f, "mb_s": %.0f, "step_ms": %.2f, "link_ms": %.2f, "device_ms": %.2f, "host_ms": %.2f, "compute_ms": %.2f, "ratio": %.3f, "ratio_min": %.3f, "ratio_max": %.3f, "compute_ratio": %.3f, "compute_ratio_min": %.3f, "compute_ratio_max": %.3f})"
            "\n",
            device_memory, host_share, mb_s, ms(&Lanes::step), ms(&Lanes::link), ms(&Lanes::device), ms(&Lanes::host), ms(&Lanes::compute),
            ratio.median, ratio.least, ratio.most, compute_ratio.median, compute_ratio.least, compute_ratio.most);
        std::fflush(stdout);
        medians.push_back(ratio.median);
        compute_medians.push_back(compute_ratio.median);
      }
  const Spread all(medians), of_compute(compute_medians);
  std::printf(R"({"combinations": %zu, "median": %.3f, "best": %.3f, "worst": %.3f, "compute_median": %.3f, "compute_worst": %.3f})"
              "\n",
              medians.size(), all.median, all.least, all.most, of_compute.median, of_compute.most);
}

}  // namespace

int main(int count, char** arguments) {
  try {
    run(parse(count, arguments));
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "device_steps: %s\n", e.what());
    return 1;
  }
}
