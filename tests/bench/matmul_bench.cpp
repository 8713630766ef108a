// How near the matrix products come to what the machine can do: slices of a kernel alternate with slices of its ceiling on the same buffer and
// threads, so that other work on the machine meets both alike. One JSON object a line: medians and quartiles of the slice-by-slice ratios.
//
//   matmul_bench [--layout q4] [--rows 1] [--outputs 2048 --k 5632] [--threads 2] [--ms 400] [--isa avx2] [--part STRIPS] [--mib 768]
//
// Up to 8 rows the ceiling is min(reading the bytes, their dot products), measured one after the other; beyond, the dot products alone. Weights
// are walked through a buffer of 768 MiB, as decoding a model would; --mib 1 keeps them in the caches, which shows what the arithmetic alone allows.
// --part: strips of one call (default: 256 KiB of weights).
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/page_buffer.h"
#include "base/thread_team.h"
#include "bench/dot_ceiling.h"
#include "kernels/matmul.h"
#include "kernels/read_probe.h"
#include "kernels/strip_shape.h"

namespace {

using namespace leafcutter;
using namespace leafcutter::kernels;
using Clock = std::chrono::steady_clock;

struct NamedLayout {
  const char* name;
  Layout layout;
};
constexpr NamedLayout kLayouts[] = {{"q4", Layout::q4},     {"q8", Layout::q8},     {"q8row", Layout::q8row},
                                    {"q4_0", Layout::q4_0}, {"q4_1", Layout::q4_1}, {"q8_0", Layout::q8_0},
                                    {"f16", Layout::f16},   {"bf16", Layout::bf16}, {"f32", Layout::f32}};

struct Shape {
  std::size_t outputs, k;
};

constexpr std::size_t kBufferBytes = std::size_t{768} << 20;

struct Options {
  std::size_t buffer_bytes = kBufferBytes;
  std::vector<NamedLayout> layouts{kLayouts[0], kLayouts[1]};
  std::vector<std::size_t> rows{1, 2, 4, 8, 64, 512};
  std::vector<Shape> shapes{{2048, 2048}, {5632, 2048}, {2048, 5632}, {32000, 2048}};
  std::vector<std::size_t> threads{1, 2};
  double seconds = 0.4;
  std::size_t part = 0;
  Isa isa = default_isa();
};

constexpr std::size_t kFewRows = 8;

volatile std::uint64_t sink;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(q * static_cast<double>(values.size() - 1) + 0.5)];
}

// Any bytes are codes; what is a float or a half is made small.
void fill_strip(Layout layout, std::size_t k, std::byte* strip) {
  const std::size_t bytes = strip_bytes(layout, k);
  std::mt19937 random(1);
  for (std::size_t i = 0; i < bytes; i++) strip[i] = static_cast<std::byte>(random());
  const GroupShape shape = group_shape(layout);
  if (shape.row_floats)
    for (std::size_t i = 0; i < shape.front; i += 4) {
      const float small = 1e-4f;
      std::memcpy(strip + i, &small, 4);
    }
  if (shape.scale == GroupScale::half)
    for (std::size_t b = 0; b * kGroupsPerBlock < activation_groups(k); b++)
      for (std::size_t i = 1; i < shape.block_head(); i += 2) strip[shape.front + b * shape.block_bytes() + i] = std::byte{0x10};
  if (float_bytes(layout) == 2)
    for (std::size_t i = 1; i < bytes; i += 2) strip[i] = std::byte{0x38};
  if (layout == Layout::f32)
    for (std::size_t i = 3; i < bytes; i += 4) strip[i] = std::byte{0x3c};
}

struct Dots {
  int (*run)(long);
  double ops;
};

Dots dots_of(Isa isa) {
  if (isa == Isa::avx512vnni || isa == Isa::amx) return {bench::dot_ceiling_avx512, bench::kDotOpsAvx512};
  return {bench::dot_ceiling_avx2, bench::kDotOpsAvx2};
}

void measure(const Options& options, const NamedLayout& named, const Shape& shape, std::size_t rows, std::size_t threads,
             std::byte* buffer) {
  const std::size_t one_strip = strip_bytes(named.layout, shape.k), strips = (shape.outputs + 15) / 16;
  const std::size_t matrix = strips * one_strip, matrices = std::max<std::size_t>(1, options.buffer_bytes / matrix);
  const std::size_t part = options.part ? options.part : std::max<std::size_t>(2, (std::size_t{256} << 10) / one_strip);
  const std::size_t parts = (strips + part - 1) / part;

  std::vector<float> x(rows * shape.k), y(rows * strips * 16);
  for (std::size_t i = 0; i < x.size(); i++) x[i] = 0.01f * static_cast<float>(i * 7919 % 200) - 1;
  std::vector<ActivationGroup> groups(activation_groups(shape.k) * rows);
  quantize_rows_portable({x.data(), shape.k, rows, shape.k, 0, rows, groups.data()});
  const Matmul kernel = matmul_kernel(named.layout, options.isa);

  ThreadTeam team(threads);
  const double ops = 2.0 * static_cast<double>(strips * 16 * shape.k * rows);
  const bool few = rows <= kFewRows;
  // About 8 ms a slice: whole matrices for few rows, some parts of one for many.
  const std::size_t run_matrices = few ? std::max<std::size_t>(1, (std::size_t{96} << 20) * threads / matrix) : 1;
  const std::size_t run_parts =
      few ? parts
          : std::clamp<std::size_t>(static_cast<std::size_t>(8e9 * static_cast<double>(threads) / ops * static_cast<double>(parts)),
                                    threads, parts);
  const Dots dots = dots_of(options.isa);
  const long dot_steps = 1 << 21;

  std::size_t at = 0;
  const auto next = [&] { return buffer + (at++ % matrices) * matrix; };
  std::vector<double> rates, read_rates, dot_rates, shares;
  const auto begin = Clock::now();
  for (int slice = 0; slice < 4 || seconds_since(begin) < options.seconds; slice++) {
    double read_rate = 0;  // Gop/s that the read ceiling would allow
    if (few) {
      const auto start = Clock::now();
      for (std::size_t i = 0; i < run_matrices; i++) {
        const std::byte* weights = next();
        team.run(parts, [&](std::size_t piece, std::size_t) {
          const std::size_t from = piece * part, to = std::min(strips, from + part);
          sink = sink ^ read_all({weights + from * one_strip, (to - from) * one_strip});
        });
      }
      read_rate = ops * static_cast<double>(run_matrices) / seconds_since(start) / 1e9;
    }
    auto start = Clock::now();
    team.run(threads, [&](std::size_t, std::size_t) { sink = sink ^ static_cast<std::uint64_t>(dots.run(dot_steps)); });
    const double dot_rate =
        static_cast<double>(dot_steps) * bench::kDotChains * dots.ops * static_cast<double>(threads) / seconds_since(start) / 1e9;
    double done = 0;
    start = Clock::now();
    for (std::size_t i = 0; i < run_matrices; i++) {
      const std::byte* weights = next();
      const std::size_t first = few ? 0 : static_cast<std::size_t>(slice) * run_parts % (parts - run_parts + 1);
      team.run(run_parts, [&](std::size_t piece, std::size_t) {
        const std::size_t from = (first + piece) * part, to = std::min(strips, from + part);
        kernel({weights + from * one_strip, shape.k, to - from, (to - from) * 16, groups.data(), x.data(), shape.k, rows, 1, nullptr,
                y.data() + from * 16, strips * 16});
      });
      for (std::size_t piece = first; piece < first + run_parts; piece++)
        done += ops / static_cast<double>(strips) * static_cast<double>(std::min(strips, (piece + 1) * part) - piece * part);
    }
    const double rate = done / seconds_since(start) / 1e9;
    if (slice == 0) continue;
    rates.push_back(rate);
    read_rates.push_back(read_rate);
    dot_rates.push_back(dot_rate);
    const bool quantized = takes_groups(named.layout);
    const double ceiling = few ? (quantized ? std::min(read_rate, dot_rate) : read_rate) : dot_rate;
    shares.push_back(rate / ceiling);
  }
  const double gb = static_cast<double>(matrix) / ops;
  std::printf(
      "{\"layout\":\"%s\",\"isa\":\"%s\",\"outputs\":%zu,\"k\":%zu,\"rows\":%zu,\"threads\":%zu,\"gb_s\":%.2f,\"gop_s\":%.0f,\"read_gb_s\":"
      "%.2f,\"dot_gop_s\":%.0f,"
      "\"share\":%.3f,\"share_q1\":%.3f,\"share_q3\":%.3f,\"slices\":%zu}\n",
      named.name, isa_name(options.isa), shape.outputs, shape.k, rows, threads, quantile(rates, 0.5) * gb, quantile(rates, 0.5),
      quantile(read_rates, 0.5) * gb, quantile(dot_rates, 0.5), quantile(shares, 0.5), quantile(shares, 0.25), quantile(shares, 0.75),
      shares.size());
  std::fflush(stdout);
}

Options parse(int argc, char** argv) {
  Options options;
  std::vector<NamedLayout> layouts;
  std::vector<std::size_t> rows, threads;
  Shape shape{0, 0};
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i], value = argv[i + 1];
    const auto number = [&] { return static_cast<std::size_t>(std::strtoull(value.c_str(), nullptr, 10)); };
    if (flag == "--layout") {
      for (const NamedLayout& named : kLayouts)
        if (value == named.name || value == "all") layouts.push_back(named);
    } else if (flag == "--rows") {
      rows.push_back(number());
    } else if (flag == "--threads") {
      threads.push_back(number());
    } else if (flag == "--outputs") {
      shape.outputs = number();
    } else if (flag == "--k") {
      shape.k = number();
    } else if (flag == "--ms") {
      options.seconds = static_cast<double>(number()) / 1e3;
    } else if (flag == "--part") {
      options.part = number();
    } else if (flag == "--mib") {
      options.buffer_bytes = std::min(kBufferBytes, std::max<std::size_t>(1, number()) << 20);
    } else if (flag == "--isa") {
      options.isa = choose_isa(value);
    } else {
      throw Error(ErrorKind::usage, flag, "unknown flag");
    }
  }
  if (!layouts.empty()) options.layouts = layouts;
  if (!rows.empty()) options.rows = rows;
  if (!threads.empty()) options.threads = threads;
  if (shape.outputs > 0 && shape.k > 0) options.shapes = {shape};
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const Options options = parse(argc, argv);
    PageBuffer buffer(kBufferBytes + (std::size_t{160} << 20), "benchmark");
    for (const NamedLayout& named : options.layouts)
      for (const Shape& shape : options.shapes) {
        const std::size_t one = strip_bytes(named.layout, shape.k);
        fill_strip(named.layout, shape.k, buffer.data());
        for (std::size_t to = one; to + one <= buffer.size(); to += one) std::memcpy(buffer.data() + to, buffer.data(), one);
        for (const std::size_t rows : options.rows)
          for (const std::size_t threads : options.threads) measure(options, named, shape, rows, threads, buffer.data());
      }
    return 0;
  } catch (const Error& error) {
    std::fprintf(stderr, "matmul_bench: %s\n", error.what());
    return 1;
  }
}
