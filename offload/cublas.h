// The functions of cuBLAS 12 that products with weights in f16 can go through, as a table: looked up in libcublas.so.12 when a program wants them, so that nothing of CUDA is needed to build or to start. Tests give a table of
// their own.
//
// Source of names, order of arguments and numbers: the reference of the cuBLAS API, version 12. cuBLAS 13 has no code for cards before Turing.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

#include "offload/cuda_driver.h"

namespace leafcutter::offload {

enum class CublasStatus : int {
  success = 0,
  not_initialized = 1,
  alloc_failed = 3,
  invalid_value = 7,
  arch_mismatch = 8,
  mapping_error = 11,
  execution_failed = 13,
  internal_error = 14,
  not_supported = 15,
  license_error = 16,
};

struct CublasHandleObject;
using CublasHandle = CublasHandleObject*;

namespace cublas {
constexpr int kAsItIs = 0;                     // cublasOperation_t: not transposed
constexpr int kFloat = 0, kHalf = 2;           // cudaDataType
constexpr int kComputeFloat = 68;              // cublasComputeType_t: sums in f32
constexpr int kDefaultAlgorithm = -1;          // cublasGemmAlgo_t
constexpr int kSumsKeepTheirPrecision = 0x10;  // cublasMath_t: parts of a sum are put together in the type of the sum, too
}  // namespace cublas

template <class... Arguments>
struct CublasCall {
  const char* name;  // in libcublas
  std::function<CublasStatus(Arguments...)> function{};
};

struct CublasLibrary {
  CublasCall<CublasHandle*> create{"cublasCreate_v2"};
  CublasCall<CublasHandle> destroy{"cublasDestroy_v2"};
  CublasCall<CublasHandle, int*> version{"cublasGetVersion_v2"};
  CublasCall<CublasHandle, CudaStream> set_stream{"cublasSetStream_v2"};  // gives up the workspace that was set
  CublasCall<CublasHandle, void*, std::size_t> set_workspace{"cublasSetWorkspace_v2"};
  CublasCall<CublasHandle, int> set_math_mode{"cublasSetMathMode"};
  // C = alpha A B + beta C, matrices by columns: m, n, k; alpha; A, its type and distance of columns; the same of B; beta; the same of C; type of sums, algorithm. alpha and beta lie in host memory.
  CublasCall<CublasHandle, int, int, int, int, int, const void*, const void*, int, int, const void*, int, int, const void*, void*, int, int,
             int, int>
      gemm{"cublasGemmEx"};
  std::function<const char*(CublasStatus)> status_name, status_text;
};

// visit(call) for each function that gives a status.
template <class Visit>
void for_each_call(CublasLibrary& c, Visit&& visit) {
  visit(c.create);
  visit(c.destroy);
  visit(c.version);
  visit(c.set_stream);
  visit(c.set_workspace);
  visit(c.set_math_mode);
  visit(c.gemm);
}

// The cuBLAS of this machine. Throws Error{device}, one line: none here, or one that lacks a function, by name. library: for tests.
CublasLibrary load_cublas(const std::string& library = "libcublas.so.12");

// "CUBLAS_STATUS_NOT_SUPPORTED (...)", in the library's words.
std::string cublas_status_text(const CublasLibrary& library, CublasStatus status);

// "12.9.1"
std::string cublas_version_text(int version);

}  // namespace leafcutter::offload
