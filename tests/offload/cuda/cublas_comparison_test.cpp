// The comparison that `selftest` makes: passes where cuBLAS is right, fails where it is not, and when it is worth it.
#include "offload/cublas_comparison.h"

#include <doctest/doctest.h>

#include "tests/support/fake_cublas.h"

using namespace leafcutter::offload;
using leafcutter::offload::test::FakeCublas;
using leafcutter::offload::test::FakeCuda;

namespace {

struct Compared {
  CublasComparison result;
  std::size_t passed = 0, failed = 0;
};

Compared compare(float factor) {
  constexpr std::size_t kWidth = 40;  // 2 strips
  FakeCuda fake;
  FakeCublas blas(fake);
  blas.spoil(factor);
  CudaDeviceOptions options;
  options.code.ptx = ".version 6.0\n";
  options.cublas = blas.library();
  const auto device = make_cuda_device(fake.driver(), options);
  Compared compared;
  compared.result =
      compare_cublas(*device, kWidth, [&](const SelftestLine& line) { (line.is_passed.value() ? compared.passed : compared.failed)++; });
  CHECK(device->allocated_bytes() == 0);
  CHECK(fake.errors() == std::vector<std::string>{});
  CHECK(blas.calls_of("cublasGemmEx") == 2 * 6);
  return compared;
}

}  // namespace

TEST_CASE("cuBLAS is compared with our kernels for few rows and for many") {
  const Compared right = compare(1);
  CHECK(right.passed == 2);
  CHECK(right.result.version == FakeCublas::kVersion);
  CHECK(right.result.products.at(0).rows == 64);
  CHECK(right.result.products.at(1).rows == 512);
  CHECK(right.result.products.at(1).our_seconds > 0);
  CHECK(right.result.products.at(1).cublas_seconds > 0);
  const Compared wrong = compare(1.01f);
  CHECK(wrong.failed == 2);
  CHECK_FALSE(wrong.result.is_worth_it());
}

TEST_CASE("cuBLAS is worth it where it is right and a tenth faster with few rows and with many") {
  CublasComparison c;
  CHECK_FALSE(c.is_worth_it());
  c.products = {{64, 1.2, 1.0, 1e-4, true}, {512, 1.2, 1.0, 1e-4, true}};
  CHECK(c.is_worth_it());
  c.products[0].our_seconds = 1.05;
  CHECK_FALSE(c.is_worth_it());
  c.products[0] = {64, 1.2, 1.0, 0.1, false};
  CHECK_FALSE(c.is_worth_it());
}
