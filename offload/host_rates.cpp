#include <time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/page_buffer.h"
#include "base/thread_team.h"
#include "compress/chunk_codec.h"
#include "compress/xxh3.h"
#include "kernels/attention.h"
#include "kernels/matmul.h"
#include "kernels/read_probe.h"
#include "offload/disk_probe.h"
#include "offload/host_memory.h"
#include "offload/prediction.h"
#include "offload/product_pieces.h"

namespace leafcutter::offload {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// How much of the processors' time the threads got that were busy all the while.
class ProcessorShare {
 public:
  explicit ProcessorShare(std::size_t threads) : threads_(static_cast<double>(threads)), cpu_(cpu_seconds()) {}
  double get() const { return (cpu_seconds() - cpu_) / (seconds_since(start_) * threads_); }

 private:
  static double cpu_seconds() {
    timespec now{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
  }
  const double threads_, cpu_;
  const Clock::time_point start_ = Clock::now();
};

// The median: what the machine does most of the time, others' work included.
template <class Work>
double median_seconds(std::size_t runs, Work&& work) {
  work();  // first touches, threads awake
  std::vector<double> seconds(runs);
  for (double& s : seconds) {
    const auto start = Clock::now();
    work();
    s = seconds_since(start);
  }
  std::nth_element(seconds.begin(), seconds.begin() + static_cast<std::ptrdiff_t>(runs / 2), seconds.end());
  return seconds[runs / 2];
}

constexpr std::uint64_t kProbeBytes = std::uint64_t{256} << 20;  // more than caches hold
constexpr std::uint64_t kLeastProbeBytes = std::uint64_t{4} << 20;
constexpr std::size_t kChunk = std::size_t{4} << 20;

double memory_rate(ThreadTeam& team, const PageBuffer& buffer) {
  const std::size_t pieces = buffer.size() / kChunk;
  std::vector<std::uint64_t> sums(pieces);
  const double seconds = median_seconds(7, [&] {
    team.run(pieces,
             [&](std::size_t piece, std::size_t) { sums[piece] = kernels::read_all(buffer.bytes().subspan(piece * kChunk, kChunk)); });
  });
  return static_cast<double>(buffer.size()) / seconds / 1e9;
}

// Products with the strips of one big matrix of a layout that lies in the probe's buffer.
class ProductProbe {
 public:
  ProductProbe(ThreadTeam& team, const PageBuffer& buffer, const ProductRates& product)
      : team_(team),
        weights_(buffer.data()),
        bytes_(buffer.size()),
        product_(product),
        k_(static_cast<std::size_t>(product.k)),
        kernel_(kernels::matmul_kernel(product.layout, kernels::default_isa())),
        strip_bytes_(kernels::strip_bytes(product.layout, product.k)),
        x_(kManyRows * k_, 0.5f),
        groups_(kernels::activation_groups(k_) * kManyRows) {
    kernels::quantize_rows_portable(
        {x_.data(), k_, kManyRows, k_, 0, kManyRows, groups_.data()});  // all alike: records of fewer rows are their beginning
  }

  // Seconds of one pass over `bytes` of weights, from `begin` on, with `rows` rows.
  void pass(std::size_t bytes, std::size_t rows, std::size_t begin = 0) {
    const std::byte* const weights = weights_ + begin;
    const std::size_t strips = bytes / strip_bytes_, step = std::max<std::size_t>(2, piece_bytes(bytes, team_.size()) / strip_bytes_);
    y_.resize(std::max(y_.size(), rows * strips * kernels::kStripRows));
    team_.run((strips + step - 1) / step, [&](std::size_t piece, std::size_t) {
      kernels::MatmulArgs args{};
      args.weights = weights + piece * step * strip_bytes_;
      args.k = k_;
      args.strips = std::min(step, strips - piece * step);
      args.outputs = args.strips * kernels::kStripRows;
      args.groups = groups_.data();
      args.x = x_.data();
      args.x_stride = k_;
      args.rows = rows;
      args.factor = 1;
      args.y = y_.data() + piece * step * kernels::kStripRows;
      args.y_stride = strips * kernels::kStripRows;
      kernel_(args);
    });
  }

  // What a product of an ordinary size costs beyond moving its weights: one big one beside many of a megabyte.
  double meeting_seconds() {
    const std::size_t slice = std::min(bytes_, kSliceBytes) / strip_bytes_ * strip_bytes_, slices = bytes_ / slice;
    const double whole = median_seconds(5, [&] { pass(slice * slices, 1); });
    const double sliced = median_seconds(5, [&] {
      for (std::size_t i = 0; i < slices; i++) pass(slice, 1, i * slice);
    });
    return std::max(1e-7, (sliced - whole) / static_cast<double>(slices));
  }

  ProductRates rates() {
    constexpr std::size_t kManyBytes = std::size_t{2} << 20;
    const std::size_t all = bytes_ / strip_bytes_ * strip_bytes_, some = kManyBytes / strip_bytes_ * strip_bytes_;
    ProductRates rates = product_;
    rates.one_row_gb_s = static_cast<double>(all) / median_seconds(7, [&] { pass(all, 1); }) / 1e9;
    const std::size_t outputs = some / strip_bytes_ * kernels::kStripRows;
    const double operations = 2.0 * static_cast<double>(k_) * static_cast<double>(outputs) * kManyRows;
    rates.many_rows_gop_s = operations / median_seconds(3, [&] { pass(some, kManyRows); }) / 1e9;
    return rates;
  }

 private:
  static constexpr std::size_t kManyRows = 128, kSliceBytes = std::size_t{1} << 20;
  ThreadTeam& team_;
  const std::byte* weights_;
  std::size_t bytes_;
  ProductRates product_;
  std::size_t k_;
  kernels::Matmul kernel_;
  std::size_t strip_bytes_;
  std::vector<float> x_, y_;
  std::vector<kernels::ActivationGroup> groups_;
};

// Caches of layers lie one behind the other in the buffer, each attended to once in turn: a step's keys are cold when one row needs them.
double attention_rate(ThreadTeam& team, const PageBuffer& buffer, std::size_t row_count) {
  constexpr std::size_t kHeads = 8, kHeadDim = 128, kPositions = 512, kRowsAPiece = 32, kMostLayers = 16;
  const std::size_t row_bytes = kernels::kv_row_bytes(kernels::KvType::f16, kHeadDim), half = kHeads * kPositions * row_bytes;
  const std::size_t caches = buffer.size() / (2 * half), layers = row_count == 1 ? std::min(kMostLayers, caches) : 1;
  const std::vector<float> q(row_count * kHeads * kHeadDim, 0.01f);
  std::vector<float> y(q.size());
  const std::size_t scratch_floats = kernels::attention_scratch_floats(kHeadDim, 1);
  std::vector<float> scratch(team.size() * scratch_floats);
  std::vector<kernels::AttentionRow> rows(row_count);
  const kernels::Attention attention = kernels::attention_kernel(kernels::default_isa());
  const std::size_t rows_a_piece = std::min(row_count, kRowsAPiece);
  std::size_t cache = 0;
  const auto attend = [&] {
    const std::byte* const keys = buffer.data() + cache++ % caches * 2 * half;
    for (kernels::AttentionRow& row : rows) {
      row = {};
      row.k = keys;
      row.v = keys + half;
      row.head_stride = kPositions * row_bytes;
      row.visible = kPositions;
    }
    team.run(kHeads * (row_count / rows_a_piece), [&](std::size_t piece, std::size_t thread) {
      kernels::AttentionArgs args{};
      args.type = kernels::KvType::f16;
      args.heads = args.kv_heads = kHeads;
      args.head_dim = kHeadDim;
      args.scale = 0.1f;
      args.q = q.data();
      args.q_stride = args.y_stride = kHeads * kHeadDim;
      args.row = rows.data();
      args.rows = row_count;
      args.y = y.data();
      args.head_begin = piece % kHeads;
      args.head_end = args.head_begin + 1;
      args.row_begin = piece / kHeads * rows_a_piece;
      args.row_end = args.row_begin + rows_a_piece;
      args.scratch = scratch.data() + thread * scratch_floats;
      attention(args);
    });
  };
  const double seconds = median_seconds(7, [&] {
    for (std::size_t layer = 0; layer < layers; layer++) attend();
  });
  return 4.0 * kHeads * kHeadDim * kPositions * static_cast<double>(row_count * layers) / seconds / 1e9;
}

double check_rate(const PageBuffer& buffer) {
  std::uint64_t sink = 0;
  std::size_t at = 0;
  const double seconds = median_seconds(7, [&] {
    sink ^= compress::xxh3(buffer.bytes().subspan(at, kChunk));
    at = (at + kChunk) % buffer.size();
  });
  return sink == 1 ? 0 : static_cast<double>(kChunk) / seconds / 1e9;
}

double decode_rate(const PageBuffer& buffer) {
  // Codes of quantized weights are close to random over a part of the alphabet: two bits of eight to be saved.
  std::vector<std::byte> raw(kChunk / 4), stored(raw.size());
  std::uint64_t state = 1;
  for (std::byte& b : raw) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    b = static_cast<std::byte>(state >> 58);
  }
  const std::size_t bytes = compress::encode_zstd(raw, stored, 3);
  if (bytes == 0) return 1;
  const double seconds =
      median_seconds(5, [&] { compress::decode_zstd(std::span(stored).first(bytes), buffer.bytes().first(raw.size()), "probe"); });
  return static_cast<double>(raw.size()) / seconds / 1e9;
}

// Products and checks at once, each counted on its own.
void contention(ThreadTeam& team, const PageBuffer& buffer, HostRates& rates) {
  ProductProbe product(team, buffer, rates.products.front());
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> checked{0}, sink{0};
  std::jthread checker([&] {
    for (std::size_t at = 0; !stop; at = (at + kChunk) % buffer.size()) {
      sink ^= compress::xxh3(buffer.bytes().subspan(at, kChunk));
      checked += kChunk;
    }
  });
  const std::size_t strip = kernels::strip_bytes(rates.products.front().layout, rates.products.front().k);
  const std::size_t all = buffer.size() / strip * strip;
  product.pass(all, 1);
  const std::uint64_t before = checked;
  const auto start = Clock::now();
  std::size_t passes = 0;
  for (; passes < 5 || seconds_since(start) < 0.1; passes++) product.pass(all, 1);
  const double seconds = seconds_since(start);
  const double check = static_cast<double>(checked - before) / seconds / 1e9;
  stop = true;
  const double compute = static_cast<double>(all * passes) / seconds / 1e9;
  rates.compute_beside_check = std::clamp(compute / rates.products.front().one_row_gb_s, 0.05, 1.0);
  rates.check_beside_compute = std::clamp(check / rates.check_gb_s, 0.05, 1.0);
}

}  // namespace

void assume_disk(HostRates& rates) {
  rates.disk_gb_s = 1.5;
  rates.read_latency_s = 1e-3;
  rates.lookup_s = 1e-4;
  rates.disk_assumed = true;
}

HostRates measure_host_rates(std::size_t threads, const std::string& file, const std::vector<ProductRates>& products) {
  ThreadTeam team(threads);
  HostRates rates;
  {
    // A container may have little: a smaller probe sees more of the caches, but is not killed.
    const std::uint64_t bytes = std::clamp(host_memory().available / 4, kLeastProbeBytes, kProbeBytes) / kChunk * kChunk;
    const PageBuffer buffer(static_cast<std::size_t>(bytes), "probe of memory and kernels");
    const ProcessorShare share(threads);
    rates.memory_gb_s = memory_rate(team, buffer);
    for (const ProductRates& product : products) rates.products.push_back(ProductProbe(team, buffer, product).rates());
    constexpr double kQuiet = 0.85;  // below that somebody else is at work
    rates.disturbed = share.get() < kQuiet;
    rates.check_gb_s = check_rate(buffer);
    rates.decode_gb_s = decode_rate(buffer);
    if (!rates.products.empty()) {
      rates.meeting_s = ProductProbe(team, buffer, rates.products.front()).meeting_seconds();
      contention(team, buffer, rates);
    }
    rates.attention_gop_s = attention_rate(team, buffer, 128);
    rates.attention_one_row_gop_s = attention_rate(team, buffer, 1);
  }
  if (!file.empty()) {
    try {
      constexpr std::uint64_t kDiskBytes = std::uint64_t{256} << 20;
      const DiskProbe probe = probe_file(file, kDiskBytes);
      rates.disk_gb_s = probe.gb_s;
      rates.reads = probe.reads;
      // One read at a time goes through latency and transfer in turn, several at once through transfer alone.
      if (probe.single_gb_s > 0 && probe.single_gb_s < probe.gb_s)
        rates.read_latency_s = static_cast<double>(probe.reads.bytes) * (1 / probe.single_gb_s - 1 / probe.gb_s) / 1e9;
      rates.lookup_s = probe.small_read_s;
    } catch (const Error&) {  // nothing to measure there: the assumption below says so
    }
  }
  if (rates.disk_gb_s <= 0) assume_disk(rates);
  return rates;
}

}  // namespace leafcutter::offload
