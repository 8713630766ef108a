#include "offload/device_rates.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels/activation_rows.h"
#include "offload/card_costs.h"
#include "offload/device_memory.h"
#include "offload/kernel_table.h"

namespace leafcutter::offload {
namespace {

constexpr int kRepetitions = 5;
constexpr std::size_t kWidth = 1024;     // of products
constexpr std::uint64_t kLaunches = 64;  // small kernels, one behind the other

// One stream, and how long it takes for what it is given.
class Stopwatch {
 public:
  explicit Stopwatch(Device& device)
      : device_(device), stream_(device.make_stream()), begin_(device.make_timed_event()), end_(device.make_timed_event()) {}

  DeviceStream stream() const { return stream_; }

  // The median of a few times, after one that counts for nothing.
  template <class Work>
  double seconds(Work&& work) {
    std::vector<double> times;
    for (int i = 0; i <= kRepetitions; i++) {
      const double once = of_one(work);
      if (i > 0) times.push_back(once);
    }
    std::sort(times.begin(), times.end());
    return times[times.size() / 2];
  }

 private:
  template <class Work>
  double of_one(Work&& work) {
    device_.synchronize(stream_);
    const double start = now();
    if (begin_ && end_) device_.record(*begin_, stream_);
    work();
    if (begin_ && end_) {
      device_.record(*end_, stream_);
      device_.synchronize(*end_);
      return device_.seconds_between(*begin_, *end_);
    }
    device_.synchronize(stream_);
    return now() - start;
  }
  double now() const {
    return device_.clock_seconds().value_or(std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count());
  }

  Device& device_;
  const DeviceStream stream_;
  const std::optional<DeviceEvent> begin_, end_;
};

double per_second(double amount, double seconds) { return amount / std::max(seconds, 1e-9); }

// By the table of kernels, on a card where only the blocks count.
double clocks_of(const ProductLaunch& product, int multiprocessors) {
  Card card{};
  card.multiprocessors = multiprocessors;
  card.clock_hz = 1;
  card.dot_lanes = kTableDotLanes;
  card.dram_bytes_per_s = std::numeric_limits<double>::infinity();
  card.dram_share = 1;
  return kernel_seconds(product, card);
}

// Weights of a layout that fill `bytes`, multiplied with rows. Zeros are as fast as any.
class Multiplied {
 public:
  Multiplied(Device& device, kernels::Layout layout, std::size_t bytes, std::uint64_t rows)
      : device_(device), strips_(std::max<std::size_t>(1, bytes / kernels::strip_bytes(layout, kWidth))), layout_(layout) {
    const std::size_t record = kernels::activation_groups(kWidth) * rows * sizeof(kernels::ActivationGroup);
    weights_ = filled(strips_ * kernels::strip_bytes(layout, kWidth));
    groups_ = filled(record);
    x_ = filled(rows * kWidth * sizeof(float));
    y_ = filled(rows * strips_ * kernels::kStripRows * sizeof(float));
  }

  ProductLaunch launch(std::uint64_t rows) const {
    ProductLaunch a;
    a.weights = weights_.address();
    a.groups = groups_.address();
    a.x = x_.address();
    a.y = y_.address();
    a.k = a.x_stride = kWidth;
    a.strips = strips_;
    a.outputs = a.y_stride = strips_ * kernels::kStripRows;
    a.rows = rows;
    a.layout = layout_;
    return a;
  }
  void enqueue(std::uint64_t rows, DeviceStream stream) { device_.launch(launch(rows), stream); }

  double bytes() const { return static_cast<double>(weights_.size()); }
  double operations(std::uint64_t rows) const { return 2.0 * static_cast<double>(strips_ * kernels::kStripRows * kWidth * rows); }

 private:
  DeviceBuffer filled(std::size_t bytes) {
    DeviceBuffer buffer(device_, bytes, "measuring");
    const std::vector<std::byte> zeros(bytes);
    device_.copy_to_device(buffer.address(), zeros.data(), {bytes}, device_.make_stream());
    return buffer;
  }

  Device& device_;
  const std::size_t strips_;
  const kernels::Layout layout_;
  DeviceBuffer weights_, groups_, x_, y_;
};

}  // namespace

MeasuredDevice measure_device_rates(Device& device, const DeviceProbe& probe) {
  constexpr std::size_t kLittle = 256;
  MeasuredDevice measured;
  measured.copy_engines = device.properties().copy_engines;
  measured.multiprocessors = probe.multiprocessors;
  Stopwatch watch(device);
  {
    const DeviceBuffer there(device, probe.bytes, "measuring");
    const StagingBuffer host(device, probe.bytes, "measuring");
    std::memset(host.data(), 0, host.size());
    const auto copy = [&](std::size_t bytes) {
      return watch.seconds([&] { device.copy_to_device(there.address(), host.data(), {bytes}, watch.stream()); });
    };
    measured.link_latency_s = copy(kLittle);
    measured.link_bytes_per_s = per_second(static_cast<double>(probe.bytes), copy(probe.bytes) - measured.link_latency_s);
  }
  {
    const DeviceBuffer values(device, kLittle, "measuring");
    device.copy_to_device(values.address(), std::vector<std::byte>(kLittle).data(), {kLittle}, watch.stream());
    const AddLaunch add{values.address(), values.address() + kLittle / 2, kLittle / 2 / sizeof(float)};
    measured.launch_s = watch.seconds([&] {
      for (std::uint64_t i = 0; i < kLaunches; i++) device.launch(add, watch.stream());
    }) / static_cast<double>(kLaunches);
  }
  const auto multiplied = [&](Multiplied& m, std::uint64_t rows) {
    return std::max(watch.seconds([&] { m.enqueue(rows, watch.stream()); }) - measured.launch_s, 0.0);
  };
  {
    Multiplied q4(device, kernels::Layout::q4, probe.bytes, 1);
    measured.weights_bytes_per_s = per_second(q4.bytes(), multiplied(q4, 1));
  }
  {
    Multiplied q4(device, kernels::Layout::q4, probe.bytes / 8, probe.rows);
    const double seconds = multiplied(q4, probe.rows);
    measured.int8_ops_per_s = per_second(q4.operations(probe.rows), seconds);
    measured.clock_hz = per_second(clocks_of(q4.launch(probe.rows), probe.multiprocessors), seconds);
  }
  {
    Multiplied f16(device, kernels::Layout::f16, probe.bytes / 4, probe.rows);
    measured.f32_ops_per_s = per_second(f16.operations(probe.rows), multiplied(f16, probe.rows));
  }
  return measured;
}

Card card_of(const MeasuredDevice& device) {
  Card card{};
  card.name = "measured";
  card.free_share = 1;
  card.dram_bytes_per_s = device.weights_bytes_per_s;
  card.dram_share = 1;
  card.multiprocessors = device.multiprocessors;
  card.clock_hz = device.clock_hz;
  card.dot_lanes = kTableDotLanes;
  card.link_bytes_per_s = device.link_bytes_per_s;
  card.link_latency_s = device.link_latency_s;
  card.launch_s = device.launch_s;
  card.copy_engines = static_cast<int>(device.copy_engines);
  return card;
}

CardHost card_host_of(const HostRates& host) {
  constexpr double kGiga = 1e9;
  CardHost row{};
  row.name = "measured";
  row.dram_bytes_per_s = host.memory_gb_s * kGiga;
  double one_row = host.memory_gb_s, many_rows = 0;
  for (const ProductRates& product : host.products) {
    one_row = std::min(one_row, product.one_row_gb_s);
    many_rows = many_rows == 0 ? product.many_rows_gop_s : std::min(many_rows, product.many_rows_gop_s);
  }
  row.product_bytes_per_s = one_row * kGiga;
  row.int8_ops_per_s = many_rows * kGiga;
  row.attention_ops_per_s = host.attention_gop_s * kGiga;
  row.attention_one_row_ops_per_s = host.attention_one_row_gop_s * kGiga;
  row.disk_bytes_per_s = host.disk_gb_s * kGiga;
  row.disk_latency_s = host.read_latency_s;
  row.check_bytes_per_s = host.check_gb_s * kGiga;
  row.meeting_s = host.meeting_s;
  row.lookup_s = host.lookup_s;
  return row;
}

}  // namespace leafcutter::offload
