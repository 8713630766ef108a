// Products through cuBLAS: a fake one beside the fake driver. Right to the digits that f16 keeps, in every order of streams; each call that fails is an error, and leaves nothing behind.
#include "offload/cublas_products.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <optional>
#include <random>
#include <thread>
#include <utility>

#include "base/page_buffer.h"
#include "kernels/matmul.h"
#include "offload/cuda_device.h"
#include "offload/device_memory.h"
#include "tests/support/expect_error.h"
#include "tests/support/fake_cublas.h"
#include "tests/support/random_strip.h"

using namespace leafcutter;
using namespace leafcutter::offload;
using leafcutter::offload::test::FakeCublas;
using leafcutter::offload::test::FakeCuda;
using leafcutter::test::expect_error;

namespace {

constexpr std::uint64_t kMiB = 1 << 20;
const std::vector<std::string> kNoErrors;

CudaDeviceOptions with(FakeCublas& blas) {
  CudaDeviceOptions options;
  options.code.ptx = ".version 6.0\n";
  options.cublas = blas.library();
  return options;
}

std::vector<float> random_floats(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 1);
  std::vector<float> values(n);
  for (float& v : values) v = normal(random);
  return values;
}

// A matrix of weights, rows of activations of very different sizes, and what their product is.
struct Problem {
  std::size_t k, outputs, rows;
  kernels::Layout layout = kernels::Layout::f16;
  std::size_t strips = (outputs + 15) / 16, x_stride = k + 3, y_stride = outputs + 5;
  float factor = 0.5f;

  PageBuffer weights{strips * kernels::strip_bytes(layout, k), "test"};
  std::vector<float> x = random_floats(rows * x_stride, 1), bias = random_floats(outputs, 2);

  void fill() {
    std::mt19937 random(static_cast<unsigned>(k));
    for (float& b : bias) b *= 1e-6f;  // counts in the small rows
    for (std::size_t s = 0; s < strips; s++) kernels::random_strip(layout, k, random, weights.data() + s * kernels::strip_bytes(layout, k));
    for (std::size_t r = 0; r < rows; r++)
      for (std::size_t i = 0; i < x_stride; i++) x[r * x_stride + i] *= r % 3 == 0 ? 1e6f : r % 3 == 1 ? 1.0f : 1e-6f;
  }

  std::vector<float> want() const {
    std::vector<float> y(rows * y_stride, -77);
    kernels::matmul_reference(
        layout, {weights.data(), k, strips, outputs, nullptr, x.data(), x_stride, rows, factor, bias.data(), y.data(), y_stride});
    return y;
  }
};

// The same product on several streams; with `failures` those that are refused are counted, and the others' results must be there.
std::vector<float> on_device(Device& device, const Problem& p, std::size_t streams = 1, std::size_t* failures = nullptr) {
  const auto bytes_of = [](const std::vector<float>& v) { return reinterpret_cast<const std::byte*>(v.data()); };
  const auto size_of = [](const std::vector<float>& v) { return v.size() * sizeof(float); };
  std::vector<float> y(p.rows * p.y_stride, -77);
  const DeviceBuffer weights(device, p.weights.size(), "weights"), x(device, size_of(p.x), "x"), bias(device, size_of(p.bias), "bias");
  std::vector<DeviceBuffer> results;
  std::vector<DeviceStream> used;
  std::vector<bool> failed(streams);
  const DeviceStream first = device.make_stream();
  device.copy_to_device(weights.address(), p.weights.data(), {p.weights.size()}, first);
  device.copy_to_device(x.address(), bytes_of(p.x), {size_of(p.x)}, first);
  device.copy_to_device(bias.address(), bytes_of(p.bias), {size_of(p.bias)}, first);
  for (std::size_t i = 0; i < streams; i++) {
    used.push_back(i == 0 ? first : device.make_stream());
    results.emplace_back(device, size_of(y), "y");
    device.copy_to_device(results[i].address(), bytes_of(y), {size_of(y)}, used[i]);
    ProductLaunch a;
    a.weights = weights.address();
    a.x = x.address();
    a.bias = bias.address();
    a.y = results[i].address();
    a.k = p.k;
    a.strips = p.strips;
    a.outputs = p.outputs;
    a.rows = p.rows;
    a.x_stride = p.x_stride;
    a.y_stride = p.y_stride;
    a.factor = p.factor;
    a.layout = p.layout;
    try {
      device.launch(a, used[i]);
    } catch (const DeviceError&) {
      if (!failures) throw;
      ++*failures;
      failed[i] = true;
    }
  }
  bool is_first = true;
  for (std::size_t i = 0; i < streams; i++) {
    if (failed[i]) continue;
    std::vector<float> got(y.size());
    device.copy_to_host(reinterpret_cast<std::byte*>(got.data()), results[i].address(), {size_of(got)}, used[i]);
    device.synchronize(used[i]);
    if (!std::exchange(is_first, false)) CHECK(std::memcmp(got.data(), y.data(), size_of(y)) == 0);
    y = std::move(got);
  }
  return y;
}

// Of each row, as a part of its largest value; what lies beside the outputs must be as it was.
double difference(const Problem& p, const std::vector<float>& got) {
  const std::vector<float> want = p.want();
  double worst = 0;
  for (std::size_t r = 0; r < p.rows; r++) {
    double most = 0, largest = 0;
    for (std::size_t o = 0; o < p.y_stride; o++) {
      const float g = got[r * p.y_stride + o], w = want[r * p.y_stride + o];
      if (o >= p.outputs && g != w) return HUGE_VAL;
      if (!std::isfinite(g)) return HUGE_VAL;
      most = std::max(most, std::abs(static_cast<double>(g) - w));
      if (o < p.outputs) largest = std::max(largest, std::abs(static_cast<double>(w)));
    }
    worst = std::max(worst, most / largest);
  }
  return worst;
}

}  // namespace

TEST_CASE("products in f16 of 64 rows and more go through cuBLAS, to f16's digits, on every tail") {
  struct Shape {
    std::size_t k, outputs, rows;
  };
  for (const Shape& s : {Shape{33, 16, 64}, {64, 75, 70}, {257, 130, 65}}) {
    CAPTURE(s.k);
    FakeCuda fake({.seed = s.k});
    FakeCublas blas(fake);
    const auto device = make_cuda_device(fake.driver(), with(blas));
    Problem p{s.k, s.outputs, s.rows};
    p.fill();
    CHECK(difference(p, on_device(*device, p)) < 1e-3);
    CHECK(blas.calls_of("cublasGemmEx") == 1);
    CHECK(fake.errors() == kNoErrors);
  }
}

TEST_CASE("other layouts, fewer rows and a device that was told not to use it stay with our kernels, bit for bit") {
  FakeCuda fake, plain_fake;
  FakeCublas blas(fake);
  const auto device = make_cuda_device(fake.driver(), with(blas));
  CudaDeviceOptions options;
  options.code.ptx = ".version 6.0\n";
  const auto plain = make_cuda_device(plain_fake.driver(), options);
  CHECK(device->cublas_version() == FakeCublas::kVersion);
  CHECK(plain->cublas_version() == 0);
  plain->use_cublas(true);  // there is none
  Problem few{64, 40, 63}, wide{64, 40, 64, kernels::Layout::f32}, many{64, 40, 64};
  for (Problem* p : {&few, &wide, &many}) {
    p->fill();
    device->use_cublas(p != &many);
    const auto got = on_device(*device, *p), want = on_device(*plain, *p);
    CHECK(std::memcmp(got.data(), want.data(), got.size() * sizeof(float)) == 0);
  }
  CHECK(blas.calls_of("cublasGemmEx") == 0);
  device->use_cublas(true);
  CHECK(difference(many, on_device(*device, many)) < 1e-3);
  CHECK(blas.calls_of("cublasGemmEx") == 1);
}

TEST_CASE("slow: products that the workspace does not hold go through it in pieces") {
  ProductLaunch a;
  a.layout = kernels::Layout::f16;
  a.rows = 64;
  a.strips = 10;
  a.k = 131072;
  CHECK(CublasProducts::takes(a));
  a.k++;
  CHECK_FALSE(CublasProducts::takes(a));
  // 4 strips fit, and 64 rows.
  for (const auto& [k, outputs, rows] : {std::array{131072, 70, 64}, std::array{131072, 4, 66}}) {
    Problem p{static_cast<std::size_t>(k), static_cast<std::size_t>(outputs), static_cast<std::size_t>(rows)};
    CAPTURE(p.k);
    p.fill();
    FakeCuda fake;
    FakeCublas blas(fake);
    const auto device = make_cuda_device(fake.driver(), with(blas));
    CHECK(difference(p, on_device(*device, p)) < 1e-3);
    CHECK(blas.calls_of("cublasGemmEx") == 2);
    CHECK(fake.errors() == kNoErrors);
  }
}

TEST_CASE("products on several streams take turns with the workspace, in every order") {
  Problem p{64, 40, 64};
  p.fill();
  for (std::uint64_t seed = 1; seed <= 20; seed++) {
    CAPTURE(seed);
    FakeCuda fake({.seed = seed});
    FakeCublas blas(fake);
    {
      const auto device = make_cuda_device(fake.driver(), with(blas));
      CHECK(difference(p, on_device(*device, p, 3)) < 1e-3);
    }
    CHECK(fake.errors() == kNoErrors);
    CHECK(fake.alive() == "");
    CHECK(fake.left_to_context() == "");
    CHECK(blas.handles() == 0);
  }
}

TEST_CASE("memory that may be taken holds cuBLAS and its workspace, too") {
  FakeCuda fake;
  FakeCublas blas(fake);
  CudaDeviceOptions options = with(blas);
  const std::uint64_t workspace = (CublasProducts::kWorkspaceBytes + 2 * kMiB - 1) / (2 * kMiB) * (2 * kMiB);  // as the driver gives it
  {
    const auto device = make_cuda_device(fake.driver(), options);
    CHECK(device->overhead().cublas_bytes == FakeCublas::kOwnBytes + workspace);
    CHECK(device->overhead().code_bytes == 4 * kMiB);
    CHECK(device->properties().memory_bytes == (3072 - 200 - 70 - 4 - 64) * kMiB - FakeCublas::kOwnBytes - workspace);
  }
  options.memory = SizeText{.bytes = 300 * kMiB};
  CHECK(make_cuda_device(fake.driver(), options)->properties().memory_bytes == (300 - 70 - 4) * kMiB - FakeCublas::kOwnBytes - workspace);
  options.memory = SizeText{.bytes = 100 * kMiB};
  expect_error([&] { make_cuda_device(fake.driver(), options); }, {"context, code and cuBLAS take", "--cublas off"});
  CHECK(fake.alive() == "");
  CHECK(blas.handles() == 0);
}

TEST_CASE("each call of cuBLAS that fails is an error that names it, leaves nothing behind, and the device works on") {
  Problem p{64, 40, 64};
  p.fill();
  std::size_t failures = 0;
  for (const CublasStatus status : {CublasStatus::execution_failed, CublasStatus::alloc_failed})
    for (std::uint64_t index = 0;; index++) {
      CAPTURE(index);
      FakeCuda fake({.seed = index + 1});
      FakeCublas blas(fake);
      blas.fail_call(index, status);
      std::unique_ptr<CudaDevice> device;
      std::optional<DeviceFailure> failure;
      std::string message;
      try {
        device = make_cuda_device(fake.driver(), with(blas));
        const double worst = difference(p, on_device(*device, p));
        CHECK(worst < 1e-3);
      } catch (const DeviceError& e) {
        failure = e.failure();
        message = e.what();
      }
      CAPTURE(message);
      const bool failed = blas.has_failed();
      if (failed) {
        failures++;
        REQUIRE(failure);
        CHECK(*failure == (status == CublasStatus::alloc_failed ? DeviceFailure::out_of_memory : DeviceFailure::launch));
        CHECK(message.find(blas.calls().at(index)) != std::string::npos);
        CHECK(message.find("CUBLAS_STATUS_") != std::string::npos);
        CHECK(message.find("--cublas off") != std::string::npos);
        CHECK(message.find('\n') == std::string::npos);
      }
      if (device && failed) {
        CHECK(device->drain());
        CHECK(device->allocated_bytes() == 0);
        CHECK(difference(p, on_device(*device, p)) < 1e-3);
      }
      device.reset();
      CHECK(fake.errors() == kNoErrors);
      CHECK(fake.alive() == "");
      CHECK(blas.handles() == 0);
      if (!failed) break;
    }
  CHECK(failures == 12);
}

TEST_CASE("a product that fails halfway leaves the workspace to the next one, on whatever stream that is") {
  Problem p{64, 40, 64};
  p.fill();
  std::size_t failures = 0;
  for (std::uint64_t seed = 1; seed <= 5; seed++)
    for (std::uint64_t index = 3; index < 12; index++) {  // behind those of the library's beginning
      CAPTURE(seed);
      CAPTURE(index);
      FakeCuda fake({.seed = seed});
      FakeCublas blas(fake);
      blas.fail_call(index, CublasStatus::execution_failed);
      {
        const auto device = make_cuda_device(fake.driver(), with(blas));
        CHECK(difference(p, on_device(*device, p, 3, &failures)) < 1e-3);
      }
      CHECK(fake.errors() == kNoErrors);
      CHECK(fake.alive() == "");
    }
  CHECK(failures == 45);
}

TEST_CASE("a lost device may be closed by a thread that never used it") {
  Problem p{64, 40, 64};
  p.fill();
  FakeCuda fake;
  FakeCublas blas(fake);
  std::unique_ptr<CudaDevice> device = make_cuda_device(fake.driver(), with(blas));
  fake.fail_work(3, CudaResult::launch_failed);
  expect_error([&] { on_device(*device, p); }, {"CUDA_ERROR_LAUNCH_FAILED", "lost"});
  std::thread([&] { device.reset(); }).join();
  CHECK(fake.errors() == kNoErrors);
  CHECK(fake.alive() == "");
  CHECK(blas.handles() == 0);
}

TEST_CASE("each driver call that fails beside cuBLAS is an error and leaves nothing behind") {
  Problem p{64, 40, 64};
  p.fill();
  std::size_t failures = 0;
  for (const CudaResult result : {CudaResult::out_of_memory, CudaResult::illegal_address})
    for (std::uint64_t index = 0;; index++) {
      CAPTURE(index);
      FakeCuda fake({.seed = index});
      FakeCublas blas(fake);
      const CudaDriver driver = fake.driver();
      fake.fail_call(index, result);
      std::unique_ptr<CudaDevice> device;
      try {
        device = make_cuda_device(driver, with(blas));
        const double worst = difference(p, on_device(*device, p));
        CHECK(worst < 1e-3);
      } catch (const Error&) { failures++; }
      const bool failed = fake.has_failed();
      device.reset();
      CHECK(fake.errors() == kNoErrors);
      CHECK(fake.alive() == "");
      CHECK(blas.handles() == 0);
      if (!failed) break;
    }
  CHECK(failures > 100);
}

TEST_CASE("there is one clear line for no cuBLAS and for one that lacks a function") {
  expect_error([] { load_cublas("libno_such_cublas.so.12"); }, {"no cuBLAS 12", "libno_such_cublas.so.12", "--cublas off"});
  expect_error([] { load_cublas("libm.so.6"); }, {"libm.so.6", "cublasCreate_v2", "--cublas off"});
  CHECK(cublas_version_text(120901) == "12.9.1");
}
