#include "offload/cublas_products.h"

#include <algorithm>
#include <utility>

#include "kernels/strip_layout.h"
#include "offload/device.h"

namespace leafcutter::offload {
namespace {

constexpr std::uint64_t kHalf = 2;

void* pointer(DeviceAddress address) { return reinterpret_cast<void*>(address.value); }  // NOLINT(performance-no-int-to-ptr)

}  // namespace

template <class... Arguments, class... Given>
void CublasProducts::check(const CublasCall<Arguments...>& call, Given... given) const {
  const CublasStatus status = call.function(given...);
  if (status == CublasStatus::success) return;
  const bool is_memory = status == CublasStatus::alloc_failed;
  throw DeviceError(
      is_memory ? DeviceFailure::out_of_memory : DeviceFailure::launch, card_ + ", " + call.name + " for products of weights in f16",
      cublas_status_text(library_, status) + (version_ > 0 ? ", from cuBLAS " + cublas_version_text(version_) : ""), "use --cublas off");
}

CublasProducts::CublasProducts(const CublasLibrary& library, std::string card, DeviceAddress workspace)
    : library_(library), card_(std::move(card)), workspace_(workspace) {
  CublasHandle handle = nullptr;
  check(library_.create, &handle);
  handle_ = {handle, [destroy = library_.destroy.function](CublasHandle made) { (void)destroy(made); }};
  check(library_.version, handle, &version_);
  check(library_.set_math_mode, handle, cublas::kSumsKeepTheirPrecision);
}

bool CublasProducts::takes(const ProductLaunch& product) {
  return product.layout == kernels::Layout::f16 && product.rows >= kCublasLeastRows && product.strips > 0 &&
         product.k <= std::min(kRowBytes / kHalf / kCublasLeastRows, kWeightBytes / kHalf / kernels::kStripRows);
}

void CublasProducts::multiply(const ProductLaunch& product, CudaStream stream, const LaunchKernel& launch) {
  const DeviceAddress weights = workspace_ + kLibraryBytes, halves = weights + kWeightBytes, scales = halves + kRowBytes;
  const std::uint64_t most_rows = std::min(kMostRows, kRowBytes / kHalf / product.k),
                      most_strips = kWeightBytes / kHalf / kernels::kStripRows / product.k;
  const std::uint64_t strip_bytes = kernels::strip_bytes(product.layout, product.k);
  const int k = static_cast<int>(product.k), y_stride = static_cast<int>(product.y_stride);
  const float one = 1, zero = 0;
  check(library_.set_stream, handle_.get(), stream);
  check(library_.set_workspace, handle_.get(), pointer(workspace_), std::size_t{kLibraryBytes});
  for (std::uint64_t row = 0; row < product.rows; row += most_rows) {
    const std::uint64_t rows = std::min(most_rows, product.rows - row);
    const DeviceAddress y = product.y + row * product.y_stride * sizeof(float);
    const HalveRowsLaunch halve{product.x + row * product.x_stride * sizeof(float), halves, scales, rows, product.k, product.x_stride};
    launch(HalveRowsLaunch::kKernel, &halve);
    for (std::uint64_t strip = 0; strip < product.strips; strip += most_strips) {
      const std::uint64_t strips = std::min(most_strips, product.strips - strip), output = strip * kernels::kStripRows;
      const UnpackStripsLaunch unpack{product.weights + strip * strip_bytes, weights, product.k, strips};
      launch(UnpackStripsLaunch::kKernel, &unpack);
      const int lines = static_cast<int>(strips * kernels::kStripRows);
      const int outputs = static_cast<int>(std::min<std::uint64_t>(strips * kernels::kStripRows, product.outputs - output));
      check(library_.gemm, handle_.get(), cublas::kAsItIs, cublas::kAsItIs, outputs, static_cast<int>(rows), k, &one, pointer(weights),
            cublas::kHalf, lines, pointer(halves), cublas::kHalf, k, &zero, pointer(y + output * sizeof(float)), cublas::kFloat, y_stride,
            cublas::kComputeFloat, cublas::kDefaultAlgorithm);
    }
    const FinishRowsLaunch finish{y, scales, product.bias, rows, product.outputs, product.y_stride, product.factor};
    launch(FinishRowsLaunch::kKernel, &finish);
  }
}

}  // namespace leafcutter::offload
