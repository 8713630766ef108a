#include <chrono>
#include <vector>

#include "base/error.h"
#include "base/page_buffer.h"
#include "base/thread_team.h"
#include "kernels/matmul.h"
#include "kernels/read_probe.h"
#include "offload/disk_probe.h"
#include "offload/prediction.h"

namespace leafcutter::offload {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// The best of some short runs: others' work on the machine must not make a plan slower than the machine is.
template <class Work>
double best_seconds(int runs, Work&& work) {
  double best = 1e9;
  for (int i = 0; i < runs; i++) {
    const auto start = Clock::now();
    work();
    best = std::min(best, seconds_since(start));
  }
  return best;
}

double memory_rate(ThreadTeam& team) {
  constexpr std::size_t kBytes = std::size_t{128} << 20, kPieces = 64;
  const PageBuffer buffer(kBytes, "memory probe");
  std::vector<std::uint64_t> sums(kPieces);
  const double seconds = best_seconds(5, [&] {
    team.run(kPieces, [&](std::size_t piece, std::size_t) {
      sums[piece] = kernels::read_all(buffer.bytes().subspan(piece * (kBytes / kPieces), kBytes / kPieces));
    });
  });
  return static_cast<double>(kBytes) / seconds / 1e9;
}

double int8_rate(ThreadTeam& team) {
  constexpr std::size_t kInputs = 2048, kStrips = 32, kRows = 128;
  const std::size_t strip = kernels::strip_bytes(kernels::Layout::q4, kInputs);
  const PageBuffer weights(strip * kStrips, "kernel probe");
  std::vector<float> x(kRows * kInputs, 0.5f), y(kRows * kStrips * kernels::kStripRows);
  std::vector<kernels::ActivationGroup> groups(kernels::activation_groups(kInputs) * kRows);
  kernels::quantize_rows_portable({x.data(), kInputs, kRows, kInputs, 0, kRows, groups.data()});
  const kernels::Matmul matmul = kernels::matmul_kernel(kernels::Layout::q4, kernels::default_isa());
  const double seconds = best_seconds(5, [&] {
    team.run(kStrips / 2, [&](std::size_t piece, std::size_t) {
      kernels::MatmulArgs args{};
      args.weights = weights.data() + piece * 2 * strip;
      args.k = kInputs;
      args.strips = 2;
      args.outputs = 2 * kernels::kStripRows;
      args.groups = groups.data();
      args.rows = kRows;
      args.factor = 1;
      args.y = y.data() + piece * 2 * kernels::kStripRows;
      args.y_stride = kStrips * kernels::kStripRows;
      matmul(args);
    });
  });
  return 2.0 * kInputs * kStrips * kernels::kStripRows * kRows / seconds / 1e9;
}

}  // namespace

HostRates measure_host_rates(std::size_t threads, const std::string& file) {
  constexpr double kAssumedDisk = 1.5;  // GB/s: an ordinary NVMe drive or virtual disk
  constexpr std::uint64_t kProbeBytes = std::uint64_t{256} << 20;
  ThreadTeam team(threads);
  HostRates rates;
  rates.memory_gb_s = memory_rate(team);
  rates.int8_gop_s = int8_rate(team);
  if (!file.empty()) {
    try {
      rates.disk_gb_s = probe_file(file, kProbeBytes).gb_s;
    } catch (const Error&) {  // nothing to measure there: the assumption below says so
    }
  }
  if (rates.disk_gb_s <= 0) {
    rates.disk_gb_s = kAssumedDisk;
    rates.disk_assumed = true;
  }
  return rates;
}

}  // namespace leafcutter::offload
