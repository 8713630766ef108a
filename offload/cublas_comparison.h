// cuBLAS against our own kernels on a card: the same products, right to the digits of f16 or not, and which is faster.
#pragma once

#include <cstdint>
#include <vector>

#include "offload/cuda_device.h"
#include "offload/device_selftest.h"

namespace leafcutter::offload {

struct CublasComparison {
  struct Product {
    std::uint64_t rows = 0;
    double our_seconds = 0, cublas_seconds = 0;
    double difference = 0;  // largest, as a part of the largest value; infinite where a value is no number
    bool is_right = false;
  };
  int version = 0;
  std::vector<Product> products;  // of the fewest rows that go through cuBLAS, and of a full pass

  // All right, and none of them less than a tenth faster.
  bool is_worth_it() const;
};

// Products of a square matrix of this width in f16. The device must have cuBLAS; afterwards it uses it. A line of the report for each. Throws DeviceError.
CublasComparison compare_cublas(CudaDevice& device, std::size_t width, const SelftestReport& report);

}  // namespace leafcutter::offload
