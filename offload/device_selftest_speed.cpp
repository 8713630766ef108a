#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <utility>

#include "kernels/activation_group.h"
#include "offload/device_memory.h"
#include "offload/device_selftest.h"

namespace leafcutter::offload {
namespace {

constexpr std::size_t kGuard = 256;  // bytes around what is copied, which must stay

std::vector<std::byte> pattern(std::size_t bytes, unsigned seed) {
  std::vector<std::byte> all(bytes);
  std::uint32_t state = seed;
  for (std::byte& b : all) b = static_cast<std::byte>((state = state * 1664525 + 1013904223) >> 24);
  return all;
}

// Up, within and down again; what lies between rows stays as it was.
enum class Way : std::uint8_t { pinned, ordinary, fetched };

bool comes_back(Device& device, const CopyShape& rows, Way way) {
  const bool is_pinned = way != Way::ordinary;
  const DeviceStream stream = device.make_stream();
  const std::size_t spread = (rows.rows - 1) * rows.to_stride + rows.row_bytes, bytes = rows.rows * rows.row_bytes;
  const DeviceBuffer first(device, spread + 2 * kGuard, "selftest"), second(device, spread + 2 * kGuard, "selftest");
  const std::vector<std::byte> source = pattern(bytes, 1), ground = pattern(spread + 2 * kGuard, 2);
  const CopyShape up{rows.row_bytes, rows.rows, rows.to_stride, rows.row_bytes},
      down{rows.row_bytes, rows.rows, rows.row_bytes, rows.to_stride}, within{rows.row_bytes, rows.rows, rows.to_stride, rows.to_stride};
  StagingBuffer staging;
  if (is_pinned) staging = StagingBuffer(device, 2 * bytes, "selftest");
  std::vector<std::byte> ordinary(is_pinned ? 0 : 2 * bytes);
  std::byte* const host = is_pinned ? staging.data() : ordinary.data();
  std::memcpy(host, source.data(), bytes);
  device.copy_to_device(first.address(), ground.data(), {ground.size()}, stream);
  device.copy_on_device(second.address(), first.address(), {ground.size()}, stream);
  if (way == Way::fetched)
    device.fetch(first.address() + kGuard, host, up, stream);
  else
    device.copy_to_device(first.address() + kGuard, host, up, stream);
  device.copy_on_device(second.address() + kGuard, first.address() + kGuard, within, stream);
  device.copy_to_host(host + bytes, second.address() + kGuard, down, stream);
  std::vector<std::byte> whole(ground.size()), want = ground;
  device.copy_to_host(whole.data(), second.address(), {whole.size()}, stream);
  device.synchronize(stream);
  for (std::size_t r = 0; r < rows.rows; r++)
    std::memcpy(want.data() + kGuard + r * rows.to_stride, source.data() + r * rows.row_bytes, rows.row_bytes);
  return std::memcmp(host + bytes, source.data(), bytes) == 0 && whole == want;
}

template <class Work>
double seconds_of(Work&& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void rate(const char* name, double bytes, double seconds, const SelftestReport& report) {
  char text[80];
  std::snprintf(text, sizeof text, "%.2f GB/s", bytes / seconds / 1e9);
  report({name, std::nullopt, text, bytes / seconds / 1e9});
}

}  // namespace

void check_device_copies(Device& device, const SelftestReport& report) {
  constexpr CopyShape kOne{100'001, 1, 100'001, 0}, kRows{300, 70, 512, 0};
  constexpr std::pair<Way, const char*> kWays[] = {
      {Way::pinned, ", pinned"}, {Way::ordinary, ", ordinary memory"}, {Way::fetched, ", fetched by the device"}};
  for (const auto& [way, way_name] : kWays)
    for (const bool is_one : {true, false}) {
      const std::string name = std::string("copies of ") + (is_one ? "one piece" : "rows with strides") + way_name;
      try {
        const bool is_right = comes_back(device, is_one ? kOne : kRows, way);
        report({name, is_right, is_right ? "every byte came back" : "bytes came back wrong, or others were overwritten",
                is_right ? 0.0 : 1.0});
      } catch (const DeviceError& e) {
        if (!device.drain()) throw;
        report({name, false, e.what(), 1});
      }
    }
}

void measure_device(Device& device, std::size_t bytes, const SelftestReport& report, std::optional<double> most_overlap) {
  constexpr std::size_t kWidth = 1024, kTimes = 8;
  constexpr int kTries = 3;
  const std::size_t piece = bytes / 2 / kDeviceAlignment * kDeviceAlignment;
  const DeviceStream copies = device.make_stream(), compute_stream = device.make_stream();
  const DeviceBuffer there(device, piece, "selftest"), other(device, piece, "selftest");
  const StagingBuffer host(device, piece, "selftest");
  std::memset(host.data(), 1, host.size());
  const double copied = static_cast<double>(kTimes) * static_cast<double>(piece);
  const auto up = [&] {
    for (std::size_t i = 0; i < kTimes; i++) device.copy_to_device(there.address(), host.data(), {piece}, copies);
  };
  const auto timed = [&](DeviceStream stream, auto&& work) {
    device.synchronize(stream);
    return seconds_of([&] {
      work();
      device.synchronize(stream);
    });
  };
  timed(copies, up);  // the first copies pay for what the driver does once
  const double up_s = timed(copies, up);
  const double down_s = timed(copies, [&] {
    for (std::size_t i = 0; i < kTimes; i++) device.copy_to_host(host.data(), there.address(), {piece}, copies);
  });
  const double within_s = timed(copies, [&] {
    for (std::size_t i = 0; i < kTimes; i++) device.copy_on_device(other.address(), there.address(), {piece}, copies);
  });
  rate(host.is_pinned() ? "link to the device" : "link to the device, not pinned", copied, up_s, report);
  rate("link to the host", copied, down_s, report);
  rate("device memory, read and written", 2 * copied, within_s, report);

  // A product whose weights are what lies in `other`: as many strips of q4 as there is room for.
  device.copy_to_device(other.address(), host.data(), {piece}, compute_stream);
  const DeviceBuffer groups(device, kernels::activation_groups(kWidth) * sizeof(kernels::ActivationGroup), "selftest");
  const std::vector<std::byte> zeros(groups.size());
  device.copy_to_device(groups.address(), zeros.data(), {zeros.size()}, compute_stream);
  ProductLaunch product;
  product.layout = kernels::Layout::q4;
  product.k = kWidth;
  product.strips = piece / kernels::strip_bytes(product.layout, kWidth);
  product.outputs = product.y_stride = product.strips * kernels::kStripRows;
  product.rows = 1;
  const DeviceBuffer y(device, product.outputs * sizeof(float), "selftest");
  product.weights = other.address();
  product.groups = groups.address();
  product.y = y.address();
  const double weights = static_cast<double>(product.strips * kernels::strip_bytes(product.layout, kWidth));
  timed(compute_stream, [&] { device.launch(product, compute_stream); });
  const double once_s = timed(compute_stream, [&] {
    for (std::size_t i = 0; i < kTimes; i++) device.launch(product, compute_stream);
  });
  rate("product q4 of one row, weights read", kTimes * weights, once_s, report);

  // As many products as take about as long as the copies.
  const auto launches = static_cast<std::size_t>(std::clamp(std::ceil(up_s / once_s * kTimes), 1.0, 2000.0));
  const auto products = [&] {
    for (std::size_t i = 0; i < launches; i++) device.launch(product, compute_stream);
  };
  double ratio = 0, copy_s = 0, compute_s = 0, both_s = 0;  // of the best try: others may use the machine
  for (int i = 0; i < kTries; i++) {
    const double compute = timed(compute_stream, products), copy = timed(copies, up);
    const double both = seconds_of([&] {
      products();
      up();
      device.synchronize(copies);
      device.synchronize(compute_stream);
    });
    const double of_try = both / std::max(copy, compute);
    if (i == 0 || of_try < ratio) ratio = of_try, copy_s = copy, compute_s = compute, both_s = both;
  }
  char text[160];
  std::snprintf(text, sizeof text, "%.2f of the longer one: copies %.1f ms, kernels %.1f ms, both %.1f ms", ratio, 1e3 * copy_s,
                1e3 * compute_s, 1e3 * both_s);
  std::string detail = text;
  std::optional<bool> is_passed;
  if (most_overlap) {
    std::snprintf(text, sizeof text, "; at most %.2f is right", *most_overlap);
    detail += text;
    is_passed = ratio <= *most_overlap;
  }
  report({"copies and kernels at a time", is_passed, detail, ratio});
}

}  // namespace leafcutter::offload
