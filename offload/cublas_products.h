// Products of many rows with weights in f16 by cuBLAS: pieces of the strips are unpacked to a matrix, rows become f16 with a power of two each, cuBLAS multiplies, a kernel puts scale, factor and bias on. All of it goes
// through one workspace of a fixed size, so that products of different streams take turns.
//
// Rows of activations are rounded to f16 (11 digits of a row's largest value), sums are f32. Which order cuBLAS adds in depends on the sizes of a product, on the card and on the version: a row's bits may differ with the rows
// beside it, which those of our own kernels do not.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "offload/cublas.h"
#include "offload/device_kernels.h"

namespace leafcutter::offload {

constexpr std::uint64_t kCublasLeastRows = 64;

class CublasProducts {
 public:
  // Of the workspace: what cuBLAS itself may use (its default for cards before Hopper), a matrix of weights, rows of activations with their scales.
  static constexpr std::uint64_t kLibraryBytes = 4 << 20, kWeightBytes = 16 << 20, kRowBytes = 16 << 20, kMostRows = 4096;
  static constexpr std::uint64_t kWorkspaceBytes = kLibraryBytes + kWeightBytes + kRowBytes + kMostRows * sizeof(float);

  // For the context that is current. card: for errors. workspace: kWorkspaceBytes of device memory, which must outlive it. Throws DeviceError that names the call.
  CublasProducts(const CublasLibrary& library, std::string card, DeviceAddress workspace);

  int version() const { return version_; }

  // Weights in f16, at least kCublasLeastRows rows, and no wider than the workspace can take.
  static bool takes(const ProductLaunch& product);

  // Enqueues the product, which takes() said yes to, on the stream; `launch` enqueues a kernel there. What is on other streams must be ordered by the caller. Throws DeviceError, and what launch throws.
  using LaunchKernel = std::function<void(DeviceKernel kernel, const void* arguments)>;
  void multiply(const ProductLaunch& product, CudaStream stream, const LaunchKernel& launch);

 private:
  template <class... Arguments, class... Given>
  void check(const CublasCall<Arguments...>& call, Given... given) const;

  const CublasLibrary library_;
  const std::string card_;
  const DeviceAddress workspace_;
  std::unique_ptr<CublasHandleObject, std::function<void(CublasHandle)>> handle_;
  int version_ = 0;
};

}  // namespace leafcutter::offload
