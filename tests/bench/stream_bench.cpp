// Streams a .leaf through the pager as decoding does, touching every byte instead of multiplying: how much of the disk's rate arrives, and what it costs the processor.
//
//   stream_bench make FILE.leaf BYTES [--chunk BYTES]           a model of random q4 weights of about that size
//   stream_bench run FILE.leaf [--resident SHARE | --memory SIZE] [--ring MIB] [--in-flight N] [--backend automatic|io_uring|threads] [--passes N] [--buffered]
//
// --resident: this share of the weights stays in memory (0.5). --memory: placement by the planner, with a promise to keep: run it in a memory group with that limit.
// `run` prints one JSON object; set it beside `probe stream` with the same resident bytes in the same minutes.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/size_text.h"
#include "base/thread_team.h"
#include "compress/expected_tensors.h"
#include "compress/leaf_reader.h"
#include "compress/leaf_writer.h"
#include "kernels/read_probe.h"
#include "offload/host_memory.h"
#include "offload/pager.h"
#include "offload/planner.h"
#include "offload/stream_file.h"

namespace {

using namespace leafcutter;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) { return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6; };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

compress::ModelDescription model_of(std::uint64_t bytes) {
  compress::LayerDescription layer;
  layer.heads = layer.kv_heads = 16;
  layer.head_dim = 128;
  layer.ff_width = 5632;
  compress::ModelDescription model;
  model.architecture = "llama";
  model.dim = 2048;
  model.vocab_size = 1024;
  model.context_length = 2048;
  constexpr double kLayerBytes = (4.0 * 2048 * 2048 + 3.0 * 2048 * 5632) * 4.5 / 8;
  model.layers.assign(static_cast<std::size_t>(std::max(1.0, static_cast<double>(bytes) / kLayerBytes)), layer);
  return model;
}

void make(const std::string& path, std::uint64_t bytes, std::uint64_t chunk_bytes) {
  const compress::ModelDescription model = model_of(bytes);
  std::vector<compress::TensorPlan> plan;
  for (const compress::ExpectedTensor& t : compress::expected_tensors(model))
    if (!t.optional)
      plan.push_back({t.role, t.layer, compress::is_vector_role(t.role) ? quant::FormatId::f32 : quant::FormatId::q4, t.rows, t.k, 1.0f});
  const compress::FillStrips fill = [](std::size_t tensor, std::uint64_t begin, std::uint64_t, std::span<std::byte> out) {
    std::uint64_t state = (tensor + 1) * 0x9e3779b97f4a7c15 ^ begin;
    for (std::size_t i = 0; i + 8 <= out.size(); i += 8) {
      state = state * 6364136223846793005 + 1442695040888963407;
      std::memcpy(out.data() + i, &state, sizeof state);
    }
  };
  ThreadTeam team(2);
  const auto file = create_file(path);
  compress::write_leaf(*file, model, plan, {}, {.chunk_bytes = chunk_bytes}, fill, team, {});
}

// Chunks of the layers in the order of a step.
std::vector<std::uint32_t> order_of(const compress::LeafIndex& index) {
  std::vector<std::uint32_t> order;
  for (const compress::ModuleEntry& m : index.modules)
    if (m.kind == compress::ModuleKind::attention || m.kind == compress::ModuleKind::feed_forward)
      for (std::uint32_t c = m.first_chunk; c < m.first_chunk + m.chunk_count; c++) order.push_back(c);
  for (const compress::ModuleEntry& m : index.modules)
    if (m.kind == compress::ModuleKind::head)
      for (std::uint32_t c = m.first_chunk; c < m.first_chunk + m.chunk_count; c++) order.push_back(c);
  return order;
}

struct Options {
  double resident = 0.5;
  std::optional<std::uint64_t> memory;
  std::uint64_t ring = 0;  // 0: as the planner has it
  std::size_t passes = 7;
  bool buffered = false;
  offload::PagerOptions pager;
};

offload::Plan plan_for(const compress::LeafIndex& index, const std::vector<std::uint32_t>& order, const Options& options) {
  offload::PlanRequest request;
  request.available = offload::host_memory().available;
  request.already_charged = offload::charged_bytes();
  request.budget = options.memory;
  if (!options.memory) {
    std::uint64_t total = 0;
    for (const std::uint32_t c : order) total += index.chunks[c].raw_bytes;
    const std::uint64_t least = offload::least_budget(index, request);
    request.budget = least + static_cast<std::uint64_t>(options.resident * static_cast<double>(total));
  }
  offload::Plan plan = offload::make_plan(index, request);
  if (options.ring > 0) plan.ring_bytes = options.ring;
  return plan;
}

void run(const std::string& path, const Options& options) {
  const compress::LeafIndex index = compress::read_leaf_index(*open_file(path));
  const auto file = options.buffered ? open_file(path) : offload::open_for_streaming(path);
  const std::vector<std::uint32_t> order = order_of(index);
  const offload::Plan plan = plan_for(index, order, options);
  offload::MemoryAccount account;
  offload::Pager pager(file, index, plan, order, account, options.pager);
  double cpu = cpu_seconds();
  pager.load_residents();
  const double load_cpu = cpu_seconds() - cpu;
  std::vector<double> seconds;
  std::uint64_t sum = 0;
  const auto pass = [&] {
    const auto start = Clock::now();
    for (const std::uint32_t c : order) {
      const auto blob = pager.acquire(c);
      sum += kernels::read_all(blob.first(blob.size() / 512 * 512));
      pager.release(c);
    }
    seconds.push_back(seconds_since(start));
  };
  pass();  // the first one begins with an empty ring
  seconds.clear();
  cpu = cpu_seconds();
  const offload::PagerStats before = pager.stats();
  const auto start = Clock::now();
  for (std::size_t i = 0; i < options.passes; i++) pass();
  const double wall = seconds_since(start), spent = cpu_seconds() - cpu;
  const offload::PagerStats stats = pager.stats();
  std::sort(seconds.begin(), seconds.end());
  const double streamed = static_cast<double>(plan.streamed_bytes) / 1e9, median = seconds[seconds.size() / 2];
  const double gb = streamed * static_cast<double>(options.passes);
  std::printf(
      "{\"bench\":\"stream\",\"resident_gb\":%.3f,\"streamed_gb\":%.3f,\"ring_mib\":%.1f,\"pass_s\":%.4f,\"min\":%.4f,\"max\":%.4f,\"gb_"
      "s\":%.3f,"
      "\"load_gb_s\":%.3f,\"load_cpu_s_per_gb\":%.3f,\"cpu_s_per_gb\":%.4f,\"cpu_s_per_gb_all\":%.4f,\"wait_share\":%.3f,\"disk_busy\":%."
      "3f,\"check_s_per_gb\":%.3f,"
      "\"backend\":\"%s\",\"direct\":%s,\"huge_pages\":%s,\"budget\":%llu,\"predicted\":%llu,\"peak\":%llu,\"sum\":%llu}\n",
      static_cast<double>(plan.resident_bytes) / 1e9, streamed, static_cast<double>(plan.ring_bytes) / 1048576.0, median, seconds.front(),
      seconds.back(), streamed / median, static_cast<double>(plan.resident_bytes) / 1e9 / std::max(stats.load_seconds, 1e-9),
      load_cpu / std::max(static_cast<double>(plan.resident_bytes) / 1e9, 1e-9), gb > 0 ? spent / gb : 0.0,
      spent / (gb + static_cast<double>(plan.resident_bytes) / 1e9 * static_cast<double>(options.passes)),
      (stats.wait_seconds - before.wait_seconds) / wall, (stats.disk_busy_seconds - before.disk_busy_seconds) / wall,
      gb > 0 ? (stats.check_seconds - before.check_seconds) / gb : 0.0, stats.backend, stats.direct ? "true" : "false",
      stats.huge_pages ? "true" : "false", static_cast<unsigned long long>(plan.budget), static_cast<unsigned long long>(plan.total),
      static_cast<unsigned long long>(offload::peak_memory().bytes), static_cast<unsigned long long>(sum));
}

int usage() {
  std::fputs(
      "usage: stream_bench make FILE.leaf BYTES [--chunk BYTES] | run FILE.leaf [--resident SHARE | --memory SIZE] [--ring MIB] "
      "[--in-flight N] [--piece SIZE]\n"
      "       [--backend automatic|io_uring|threads] [--passes N] [--buffered]\n",
      stderr);
  return 2;
}

}  // namespace

int main(int argc, char** argv) try {
  std::vector<std::string> words(argv + 1, argv + argc);
  Options options;
  std::uint64_t chunk = compress::kMaxChunkBytes;
  std::vector<std::string> places;
  for (std::size_t i = 0; i < words.size(); i++) {
    const std::string& word = words[i];
    if (!word.starts_with("--")) {
      places.push_back(word);
    } else if (word == "--buffered") {
      options.buffered = true;
    } else if (++i == words.size()) {
      return usage();
    } else if (word == "--chunk") {
      chunk = parse_size(words[i], word).bytes;
    } else if (word == "--resident") {
      options.resident = std::stod(words[i]);
    } else if (word == "--memory") {
      options.memory = parse_size(words[i], word).bytes;
    } else if (word == "--ring") {
      options.ring = std::stoull(words[i]) << 20;
    } else if (word == "--in-flight") {
      options.pager.reads.in_flight = std::stoull(words[i]);
    } else if (word == "--piece") {
      options.pager.reads.bytes = parse_size(words[i], word).bytes;
    } else if (word == "--passes") {
      options.passes = std::max<std::size_t>(1, std::stoull(words[i]));
    } else if (word == "--backend") {
      options.pager.backend = words[i] == "threads"    ? offload::ReadBackend::threads
                              : words[i] == "io_uring" ? offload::ReadBackend::io_uring
                                                       : offload::ReadBackend::automatic;
    } else {
      return usage();
    }
  }
  if (places.size() == 3 && places[0] == "make")
    make(places[1], parse_size(places[2], "BYTES").bytes, chunk);
  else if (places.size() == 2 && places[0] == "run")
    run(places[1], options);
  else
    return usage();
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "stream_bench: %s\n", e.what());
  return 1;
}
