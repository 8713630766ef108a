#include "tests/support/fake_cublas.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/half.h"

namespace leafcutter::offload::test {
namespace {

constexpr std::uint64_t kHalf = 2;

template <class T>
std::uint64_t number(const T* pointer) {
  return reinterpret_cast<std::uint64_t>(pointer);
}
template <class T>
T* pointer(std::uint64_t address) {
  return reinterpret_cast<T*>(address);  // NOLINT(performance-no-int-to-ptr)
}

}  // namespace

CublasStatus FakeCublas::wrong(const std::string& what) {
  cuda_.add_error(std::string(calls_.back()) + ": " + what);
  return CublasStatus::invalid_value;
}

template <class... Arguments>
void FakeCublas::record(CublasCall<Arguments...>& call) {
  call.function = [this, name = std::string_view(call.name), does = std::move(call.function)](Arguments... arguments) {
    calls_.push_back(name);
    const bool fails = failing_call_ && (*failing_call_)-- == 0;
    if (fails) {
      failing_call_.reset();
      has_failed_ = true;
      if (name != "cublasDestroy_v2") return call_status_;
    }
    const CublasStatus status = does(arguments...);
    return fails ? call_status_ : status;
  };
}

void FakeCublas::fail_call(std::uint64_t index, CublasStatus status) {
  failing_call_ = index;
  call_status_ = status;
  has_failed_ = false;
}

std::size_t FakeCublas::calls_of(std::string_view name) const {
  return static_cast<std::size_t>(std::count(calls_.begin(), calls_.end(), name));
}

FakeCublas::Handle* FakeCublas::find(CublasHandle handle) {
  const auto found = handles_.find(number(handle));
  return found == handles_.end() ? nullptr : &found->second;
}

CublasLibrary FakeCublas::library() {
  CublasLibrary l;
  const auto no_handle = [this] { return wrong("no handle"), CublasStatus::not_initialized; };
  l.create.function = [this](CublasHandle* handle) {
    if (!cuda_.is_current()) return wrong("no context is current"), CublasStatus::not_initialized;
    handles_[next_handle_ += 16] = {};
    cuda_.set_library_bytes(kOwnBytes);
    return *handle = pointer<CublasHandleObject>(next_handle_), CublasStatus::success;
  };
  l.destroy.function = [this, no_handle](CublasHandle handle) {
    if (!cuda_.is_current()) return wrong("no context is current"), CublasStatus::not_initialized;
    if (handles_.erase(number(handle)) == 0) return no_handle();
    if (handles_.empty()) cuda_.set_library_bytes(0);
    return CublasStatus::success;
  };
  l.version.function = [=, this](CublasHandle handle, int* version) {
    if (!find(handle)) return no_handle();
    return *version = kVersion, CublasStatus::success;
  };
  l.set_stream.function = [=, this](CublasHandle handle, CudaStream stream) {
    Handle* const h = find(handle);
    if (!h) return no_handle();
    h->stream = stream;
    h->workspace_bytes = 0;
    return CublasStatus::success;
  };
  l.set_workspace.function = [=, this](CublasHandle handle, void* workspace, std::size_t bytes) {
    Handle* const h = find(handle);
    if (!h) return no_handle();
    if (number(workspace) % 256 != 0 || !cuda_.holds(number(workspace), bytes)) return wrong("workspace");
    h->workspace = number(workspace);
    h->workspace_bytes = bytes;
    return CublasStatus::success;
  };
  l.set_math_mode.function = [=, this](CublasHandle handle, int mode) {
    Handle* const h = find(handle);
    if (!h) return no_handle();
    if (mode != cublas::kSumsKeepTheirPrecision) return wrong("mode");
    h->math_mode = mode;
    return CublasStatus::success;
  };
  l.gemm.function = [=, this](CublasHandle handle, int a_operation, int b_operation, int m, int n, int k, const void* alpha, const void* a,
                              int a_type, int a_distance, const void* b, int b_type, int b_distance, const void* beta, void* c, int c_type,
                              int c_distance, int compute_type, int algorithm) {
    const Handle* const h = find(handle);
    if (!h) return no_handle();
    if (!cuda_.is_current()) return wrong("no context is current");
    if (h->workspace_bytes == 0 || h->math_mode == 0) return wrong("no workspace or mode was set");
    if (a_operation != cublas::kAsItIs || b_operation != cublas::kAsItIs) return wrong("operations");
    if (a_type != cublas::kHalf || b_type != cublas::kHalf || c_type != cublas::kFloat || compute_type != cublas::kComputeFloat ||
        algorithm != cublas::kDefaultAlgorithm)
      return wrong("types");
    float factors[2];
    std::memcpy(&factors[0], alpha, sizeof(float));
    std::memcpy(&factors[1], beta, sizeof(float));
    if (factors[1] != 0) return wrong("beta");
    const Matrix left{number(a), m, k, a_distance}, right{number(b), k, n, b_distance}, out{number(c), m, n, c_distance};
    if (!is_place("A", left, kHalf) || !is_place("B", right, kHalf) || !is_place("C", out, sizeof(float)))
      return CublasStatus::invalid_value;
    for (const auto& [matrix, value_bytes] : {std::pair{left, kHalf}, {right, kHalf}, {out, std::uint64_t{sizeof(float)}}})
      if (matrix.address < h->workspace + h->workspace_bytes && h->workspace < matrix.address + matrix.values() * value_bytes)
        return wrong("a matrix lies in the workspace");
    return multiply(*h, left, right, out, factors[0] * factor_);
  };
  for_each_call(l, [&](auto& call) { record(call); });
  l.status_name = [](CublasStatus status) {
    return status == CublasStatus::execution_failed ? "CUBLAS_STATUS_EXECUTION_FAILED" : "CUBLAS_STATUS_OTHER";
  };
  l.status_text = [](CublasStatus) { return "as the test wants it"; };
  return l;
}

bool FakeCublas::is_place(const char* name, const Matrix& m, std::uint64_t value_bytes) {
  const bool is_shape = m.lines > 0 && m.columns > 0 && m.distance >= m.lines;
  if (is_shape && m.address % value_bytes == 0 && cuda_.holds(m.address, m.values() * value_bytes)) return true;
  wrong(std::string(name) + " is no matrix in the card's memory");
  return false;
}

CublasStatus FakeCublas::multiply(const Handle& handle, const Matrix& a, const Matrix& b, const Matrix& c, float alpha) {
  const auto access = [](const Matrix& m, std::uint64_t value_bytes, bool write) {
    return DeviceAccess{{m.address},
                        static_cast<std::uint64_t>(m.columns),
                        static_cast<std::uint64_t>(m.lines) * value_bytes,
                        static_cast<std::uint64_t>(m.distance) * value_bytes,
                        write};
  };
  const std::vector<DeviceAccess> accesses{access(a, kHalf, false),
                                           access(b, kHalf, false),
                                           access(c, sizeof(float), true),
                                           {{handle.workspace}, 1, handle.workspace_bytes, 0, true}};
  const CudaResult result = cuda_.enqueue(handle.stream, "cublasGemmEx", accesses, [a, b, c, alpha] {
    const auto at = [](const Matrix& m, std::int64_t line, std::int64_t column) {
      return float_from_half(pointer<const std::uint16_t>(m.address)[column * m.distance + line]);
    };
    for (std::int64_t column = 0; column < c.columns; column++)
      for (std::int64_t line = 0; line < c.lines; line++) {
        double sum = 0;
        for (std::int64_t i = 0; i < a.columns; i++) sum += static_cast<double>(at(a, line, i)) * at(b, i, column);
        pointer<float>(c.address)[column * c.distance + line] = static_cast<float>(alpha * sum);
      }
  });
  return result == CudaResult::success ? CublasStatus::success : CublasStatus::execution_failed;
}

}  // namespace leafcutter::offload::test
