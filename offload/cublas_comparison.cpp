#include "offload/cublas_comparison.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <limits>
#include <random>

#include "base/half.h"
#include "offload/cublas_products.h"
#include "offload/device_memory.h"

namespace leafcutter::offload {
namespace {

constexpr std::uint64_t kFullPass = 512;
constexpr double kTolerance = 2e-3, kWorthIt = 1.1;
constexpr int kTimes = 5;

// A square matrix in strips, and rows.
class Products {
 public:
  Products(Device& device, std::size_t width)
      : device_(device),
        width_(width / kernels::kStripRows * kernels::kStripRows),
        stream_(device.make_stream()),
        weights_(device, width_ * width_ * sizeof(std::uint16_t), "selftest"),
        x_(device, kFullPass * width_ * sizeof(float), "selftest"),
        y_(device, kFullPass * width_ * sizeof(float), "selftest") {
    std::mt19937 random(1);
    std::uniform_real_distribution<float> uniform(-1, 1);
    std::vector<std::uint16_t> halves(width_ * width_);
    for (std::uint16_t& h : halves) h = half_from_float(uniform(random));
    std::vector<float> rows(kFullPass * width_);
    for (float& v : rows) v = uniform(random);
    device_.copy_to_device(weights_.address(), reinterpret_cast<const std::byte*>(halves.data()), {weights_.size()}, stream_);
    device_.copy_to_device(x_.address(), reinterpret_cast<const std::byte*>(rows.data()), {x_.size()}, stream_);
  }

  std::vector<float> product(std::uint64_t rows) {
    enqueue(rows);
    std::vector<float> y(rows * width_);
    device_.copy_to_host(reinterpret_cast<std::byte*>(y.data()), y_.address(), {y.size() * sizeof(float)}, stream_);
    device_.synchronize(stream_);
    return y;
  }

  double seconds(std::uint64_t rows) {
    using Clock = std::chrono::steady_clock;
    std::vector<double> times;
    for (int i = 0; i < kTimes; i++) {
      const auto start = Clock::now();
      enqueue(rows);
      device_.synchronize(stream_);
      times.push_back(std::chrono::duration<double>(Clock::now() - start).count());
    }
    std::sort(times.begin(), times.end());
    return times[times.size() / 2];
  }

 private:
  void enqueue(std::uint64_t rows) {
    ProductLaunch a;
    a.weights = weights_.address();
    a.x = x_.address();
    a.y = y_.address();
    a.k = a.outputs = a.x_stride = a.y_stride = width_;
    a.strips = width_ / kernels::kStripRows;
    a.rows = rows;
    a.layout = kernels::Layout::f16;
    device_.launch(a, stream_);
  }

  Device& device_;
  const std::size_t width_;
  const DeviceStream stream_;
  const DeviceBuffer weights_, x_, y_;
};

double difference_of(const std::vector<float>& got, const std::vector<float>& want) {
  double most = 0, largest = 0;
  for (std::size_t i = 0; i < want.size(); i++) {
    if (!std::isfinite(got[i])) return std::numeric_limits<double>::infinity();
    most = std::max(most, std::abs(static_cast<double>(got[i]) - want[i]));
    largest = std::max(largest, std::abs(static_cast<double>(want[i])));
  }
  return largest > 0 ? most / largest : most;
}

}  // namespace

bool CublasComparison::is_worth_it() const {
  return !products.empty() && std::all_of(products.begin(), products.end(), [](const Product& p) {
    return p.is_right && p.cublas_seconds > 0 && p.our_seconds >= kWorthIt * p.cublas_seconds;
  });
}

CublasComparison compare_cublas(CudaDevice& device, std::size_t width, const SelftestReport& report) {
  CublasComparison comparison;
  comparison.version = device.cublas_version();
  Products products(device, width);
  for (const std::uint64_t rows : {kCublasLeastRows, kFullPass}) {
    CublasComparison::Product& p = comparison.products.emplace_back();
    p.rows = rows;
    device.use_cublas(false);
    const std::vector<float> want = products.product(rows);
    p.our_seconds = products.seconds(rows);
    device.use_cublas(true);
    p.difference = difference_of(products.product(rows), want);
    p.is_right = p.difference <= kTolerance;
    p.cublas_seconds = products.seconds(rows);
    char text[160];
    std::snprintf(text, sizeof text, "differs from ours by %.1e at most, %.0e is allowed; %.3f ms, ours %.3f ms", p.difference, kTolerance,
                  1e3 * p.cublas_seconds, 1e3 * p.our_seconds);
    report({"product f16 by cuBLAS " + cublas_version_text(comparison.version) + ", " + std::to_string(rows) + " rows", p.is_right, text,
            std::isfinite(p.difference) ? p.difference : -1});
  }
  return comparison;
}

}  // namespace leafcutter::offload
