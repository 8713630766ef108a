// Attention beside reading the keys and values it needs, as layers of a step do it: caches that lie one behind the other in a buffer, each attended to once in turn. Slices of attention alternate with slices
// of reading the same caches with the same threads, so that other work on the machine meets both alike. One JSON object a line: medians over the slices.
//
//   attention_bench [--type f16] [--heads 8 --kv-heads 8 --head-dim 128] [--length 1024] [--rows 1] [--threads 2] [--ms 400] [--isa avx2] [--mib 256] [--bias 1]
//
// --mib: of all caches together; a number below the size of the processor's caches shows what the arithmetic alone allows. gop_s counts 4 operations for each element of a key that a query sees.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/page_buffer.h"
#include "base/thread_team.h"
#include "kernels/attention.h"
#include "kernels/read_probe.h"

namespace {

using namespace leafcutter;
using namespace leafcutter::kernels;
using Clock = std::chrono::steady_clock;

struct Options {
  std::vector<KvType> types{KvType::f32, KvType::f16, KvType::q8};
  std::size_t heads = 8, kv_heads = 8, head_dim = 128;
  std::vector<std::size_t> lengths{256, 1024, 4096}, rows{1}, threads{1, 2};
  std::size_t buffer_bytes = std::size_t{256} << 20;
  double seconds = 0.4;
  bool bias = false;
  Isa isa = default_isa();
};

volatile std::uint64_t sink;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

void fill_rows(const Options& options, KvType type, std::span<std::byte> buffer) {
  const std::size_t row_bytes = kv_row_bytes(type, options.head_dim), different = std::min<std::size_t>(buffer.size() / row_bytes, 4099);
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> values(options.head_dim);
  for (std::size_t i = 0; i < different; i++) {
    for (float& value : values) value = normal(random);
    kv_store_row(type, values.data(), options.head_dim, buffer.data() + i * row_bytes);
  }
  const std::size_t period = different * row_bytes;
  for (std::size_t at = period; at < buffer.size(); at += period)
    std::copy_n(buffer.data(), std::min(period, buffer.size() - at), buffer.data() + at);
}

void measure(const Options& options, KvType type, std::size_t length, std::size_t row_count, std::size_t threads, PageBuffer& buffer) {
  const std::size_t row_bytes = kv_row_bytes(type, options.head_dim), width = options.heads * options.head_dim;
  const std::size_t group = options.heads / options.kv_heads, plane = length * row_bytes, half = options.kv_heads * plane;
  const std::size_t caches = std::max<std::size_t>(1, std::min(options.buffer_bytes, buffer.size()) / (2 * half));
  fill_rows(options, type, buffer.bytes().first(caches * 2 * half));

  std::vector<float> q(row_count * width, 0.01f), y(q.size());
  const std::size_t scratch_floats = attention_scratch_floats(options.head_dim, group);
  std::vector<float> scratch(threads * scratch_floats);
  const std::vector<std::uint8_t> segments(length, 0);
  const std::vector<float> by_distance(2 * length + 2 * kBiasMargin + 1, 0.1f), across(options.heads, 0.2f);
  const std::vector<std::uint16_t> columns(options.heads, 0);
  const AttentionBias bias{
      by_distance.data() + length + kBiasMargin, by_distance.size(), length + kBiasMargin, across.data(), 1, 1, columns.data()};
  std::vector<AttentionRow> rows(row_count);
  AttentionArgs args{};
  args.type = type;
  args.heads = options.heads;
  args.kv_heads = options.kv_heads;
  args.head_dim = options.head_dim;
  args.scale = 0.1f;
  args.q = q.data();
  args.q_stride = args.y_stride = width;
  args.row = rows.data();
  args.rows = args.row_end = row_count;
  args.y = y.data();
  args.bias = options.bias ? &bias : nullptr;

  ThreadTeam team(threads);
  const Attention attention = attention_kernel(options.isa);
  const double bytes = 2.0 * static_cast<double>(half);
  const double ops = 4.0 * static_cast<double>(width * length * row_count);
  std::size_t at = 0;
  const auto next = [&] { return buffer.data() + at++ % caches * 2 * half; };
  const std::size_t a_slice = std::max<std::size_t>(1, static_cast<std::size_t>(1e8 / std::max(bytes, ops)));
  std::vector<double> rates, read_rates, shares;
  const auto begin = Clock::now();
  for (int slice = 0; slice < 4 || seconds_since(begin) < options.seconds; slice++) {
    auto start = Clock::now();
    for (std::size_t i = 0; i < a_slice; i++) {
      const std::byte* cache = next();
      team.run(2 * options.kv_heads, [&](std::size_t piece, std::size_t) {
        sink = sink ^ read_all({cache + piece * plane, plane / 64 * 64});
      });
    }
    const double read_rate = static_cast<double>(a_slice) * bytes / seconds_since(start) / 1e9;
    start = Clock::now();
    for (std::size_t i = 0; i < a_slice; i++) {
      const std::byte* cache = next();
      for (AttentionRow& row : rows) row = {cache, cache + half, plane, length, nullptr, segments.data(), length, 0};
      team.run(options.kv_heads, [&](std::size_t piece, std::size_t thread) {
        AttentionArgs part = args;
        part.head_begin = piece * group;
        part.head_end = part.head_begin + group;
        part.scratch = scratch.data() + thread * scratch_floats;
        attention(part);
      });
    }
    const double seconds = seconds_since(start) / static_cast<double>(a_slice);
    if (slice == 0) continue;
    rates.push_back(ops / seconds / 1e9);
    read_rates.push_back(read_rate);
    shares.push_back(bytes / seconds / 1e9 / read_rate);
  }
  std::printf(
      "{\"type\":\"%s\",\"isa\":\"%s\",\"heads\":%zu,\"kv_heads\":%zu,\"head_dim\":%zu,\"length\":%zu,\"rows\":%zu,\"threads\":%zu,"
      "\"bias\":%d,\"mib\":%zu,"
      "\"gop_s\":%.1f,\"gb_s\":%.2f,\"read_gb_s\":%.2f,\"share\":%.3f,\"slices\":%zu}\n",
      kv_type_name(type), isa_name(options.isa), options.heads, options.kv_heads, options.head_dim, length, row_count, threads,
      options.bias ? 1 : 0, options.buffer_bytes >> 20, median(rates), median(rates) * bytes / ops, median(read_rates), median(shares),
      shares.size());
  std::fflush(stdout);
}

Options parse(int argc, char** argv) {
  Options options;
  std::vector<KvType> types;
  std::vector<std::size_t> lengths, rows, threads;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i], value = argv[i + 1];
    const auto number = [&] { return std::max<std::size_t>(1, static_cast<std::size_t>(std::strtoull(value.c_str(), nullptr, 10))); };
    if (flag == "--type") {
      const std::optional<KvType> type = find_kv_type(value);
      if (!type) throw Error(ErrorKind::usage, flag, "f32, f16 or q8 expected, found " + value);
      types.push_back(*type);
    } else if (flag == "--heads") {
      options.heads = number();
    } else if (flag == "--kv-heads") {
      options.kv_heads = number();
    } else if (flag == "--head-dim") {
      options.head_dim = number();
    } else if (flag == "--length") {
      lengths.push_back(number());
    } else if (flag == "--rows") {
      rows.push_back(number());
    } else if (flag == "--threads") {
      threads.push_back(number());
    } else if (flag == "--ms") {
      options.seconds = static_cast<double>(number()) / 1e3;
    } else if (flag == "--mib") {
      options.buffer_bytes = number() << 20;
    } else if (flag == "--bias") {
      options.bias = value == "1";
    } else if (flag == "--isa") {
      options.isa = choose_isa(value);
    } else {
      throw Error(ErrorKind::usage, flag, "unknown flag");
    }
  }
  if (options.heads % options.kv_heads != 0) throw Error(ErrorKind::usage, "--heads", "must be a multiple of --kv-heads");
  if (!types.empty()) options.types = types;
  if (!lengths.empty()) options.lengths = lengths;
  if (!rows.empty()) options.rows = rows;
  if (!threads.empty()) options.threads = threads;
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const Options options = parse(argc, argv);
    for (const KvType type : options.types) {
      const std::size_t longest = *std::max_element(options.lengths.begin(), options.lengths.end());
      PageBuffer buffer(std::max(options.buffer_bytes, 2 * options.kv_heads * longest * kv_row_bytes(type, options.head_dim)), "benchmark");
      for (const std::size_t length : options.lengths)
        for (const std::size_t rows : options.rows)
          for (const std::size_t threads : options.threads) measure(options, type, length, rows, threads, buffer);
    }
    return 0;
  } catch (const Error& error) {
    std::fprintf(stderr, "attention_bench: %s\n", error.what());
    return 1;
  }
}
