// A cuBLAS for tests, beside the driver of fake_cuda.h: its products are enqueued on that driver's streams, computed in double on that driver's memory, and held against all other accesses there; the workspace that it was
// given counts as written. It writes down each call and can make any fail. What is not as its reference wants it is an error of the driver's errors().
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "offload/cublas.h"
#include "tests/support/fake_cuda.h"

namespace leafcutter::offload::test {

class FakeCublas {
 public:
  static constexpr std::uint64_t kOwnBytes = 30 << 20;  // of the card's memory, while there is a handle
  static constexpr int kVersion = 120901;

  explicit FakeCublas(FakeCuda& cuda) : cuda_(cuda) {}
  FakeCublas(const FakeCublas&) = delete;
  FakeCublas& operator=(const FakeCublas&) = delete;

  // Must not be used after this is gone.
  CublasLibrary library();

  // Call number `index` from now on gives `status` and does nothing, but destroying destroys.
  void fail_call(std::uint64_t index, CublasStatus status);
  bool has_failed() const { return has_failed_; }
  // All products are wrong by this factor.
  void spoil(float factor) { factor_ = factor; }

  const std::vector<std::string_view>& calls() const { return calls_; }
  std::size_t calls_of(std::string_view name) const;
  std::size_t handles() const { return handles_.size(); }  // alive

 private:
  struct Handle {
    CudaStream stream{};
    std::uint64_t workspace = 0, workspace_bytes = 0;  // 0: none was set since the stream was
    int math_mode = 0;
  };
  struct Matrix {
    std::uint64_t address = 0;
    std::int64_t lines = 0, columns = 0, distance = 0;  // distance of columns, in values

    // From the first to the last.
    std::uint64_t values() const { return static_cast<std::uint64_t>((columns - 1) * distance + lines); }
  };

  template <class... Arguments>
  void record(CublasCall<Arguments...>& call);
  CublasStatus wrong(const std::string& what);
  Handle* find(CublasHandle handle);
  bool is_place(const char* name, const Matrix& matrix, std::uint64_t value_bytes);
  CublasStatus multiply(const Handle& handle, const Matrix& a, const Matrix& b, const Matrix& c, float alpha);

  FakeCuda& cuda_;
  std::map<std::uint64_t, Handle> handles_;
  std::uint64_t next_handle_ = 0xb1a50000;
  std::vector<std::string_view> calls_;
  std::optional<std::uint64_t> failing_call_;
  CublasStatus call_status_{};
  bool has_failed_ = false;
  float factor_ = 1;
};

}  // namespace leafcutter::offload::test
