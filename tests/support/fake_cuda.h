// A driver for tests: a table of the driver API's functions (offload/cuda_driver.h) that holds memory, streams, events, modules and contexts of its own. What is enqueued runs as late as it may, in an order drawn from a
// seed, and is checked for accesses that nothing puts in order (ordered_streams.h); kernels are those of kernels/cuda, by the emulator. It writes down each call, can make any call fail, and knows what is alive.
//
// It is stricter than a driver: copies of memory that is not pinned stay in the background, too; what a handle, an address, a flag or a size must be is checked, and what is wrong is an error of errors().
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/page_buffer.h"
#include "offload/cuda_driver.h"
#include "tests/support/cuda_emulation/emulator.h"
#include "tests/support/ordered_streams.h"

namespace leafcutter::offload::test {

struct FakeCard {
  std::string name = "GeForce GTX 1060 3GB";
  std::uint64_t memory_bytes = std::uint64_t{3} << 30;
  int capability_major = 6, capability_minor = 1, multiprocessors = 9, copy_engines = 2, pci_bus = 1;
  bool reads_host_memory = true;
};

struct FakeCudaOptions {
  std::vector<FakeCard> cards{FakeCard{}};
  int driver_version = 12040;
  CudaResult init = CudaResult::success;
  std::uint64_t used_by_others = 200 << 20, context_bytes = 70 << 20, code_bytes = 4 << 20;
  bool takes_cubin = true, takes_ptx = true;
  // What events tell: of copies the link's, of kernels what they read and write, or compute.
  double link_bytes_per_s = 11e9, link_latency_s = 8e-6, memory_bytes_per_s = 150e9, int8_ops_per_s = 8e12, f32_ops_per_s = 1.5e12,
         launch_s = 3e-6;
  std::uint64_t seed = 1;
  gpu::emulation::Options threads{};  // of kernels
};

struct FakeCall {
  std::string_view name;
  std::vector<std::uint64_t> arguments;  // numbers; pointers as numbers
};

class FakeCuda {
 public:
  explicit FakeCuda(const FakeCudaOptions& options = {});
  FakeCuda(const FakeCuda&) = delete;
  FakeCuda& operator=(const FakeCuda&) = delete;

  // Must not be used after this is gone.
  CudaDriver driver();

  // Call number `index` from now on, errors' names not counted, gives `result`: it does nothing, but what frees frees. A result that means a lost device stays until the context is destroyed.
  void fail_call(std::uint64_t index, CudaResult result);
  // What is enqueued as number `index` from now on gives `result` when it runs.
  void fail_work(std::uint64_t index, CudaResult result);
  bool has_failed() const { return has_failed_; }

  const std::vector<FakeCall>& calls() const { return calls_; }
  std::size_t calls_of(std::string_view name) const;
  // Misuse, races, accesses beyond memory, kernels that went wrong.
  const std::vector<std::string>& errors() const { return streams_->errors(); }
  // Contexts, modules, streams, events, allocations, pinned memory that are there now; "" if none are.
  std::string alive() const;
  // What a context that was destroyed without having been lost still held.
  const std::string& left_to_context() const { return left_to_context_; }

  // ---- for libraries that work on the same card

  bool is_current() const { return current_.count(std::this_thread::get_id()) != 0; }  // a context is, of this thread
  bool holds(std::uint64_t address, std::uint64_t bytes) const { return device_memory_at(address, bytes) != nullptr; }
  CudaResult enqueue(CudaStream stream, const std::string& what, const std::vector<DeviceAccess>& accesses, std::function<void()> work);
  void add_error(const std::string& error) { streams_->add_error(error); }
  void set_library_bytes(std::uint64_t bytes) { library_bytes_ = bytes; }  // of the card's memory

 private:
  struct Registered {
    std::size_t size = 0;
    bool is_mapped = false;
  };
  struct Memory {
    PageBuffer bytes;
    std::size_t size = 0;
  };

  template <class... Arguments>
  void record(CudaCall<Arguments...>& call, bool frees);
  CudaResult fault();
  CudaResult wrong(const std::string& what, CudaResult result = CudaResult::invalid_value);
  std::uint64_t new_handle() { return next_handle_ += 16; }
  std::uint64_t free_bytes() const;
  void destroy_context(std::uint64_t context);

  CudaResult allocate(std::map<std::uint64_t, Memory>& memory, std::size_t bytes, std::uint64_t& address);
  const Memory* device_memory_at(std::uint64_t address, std::uint64_t bytes) const;
  bool is_mapped(std::uint64_t address, std::uint64_t bytes) const;  // host memory that kernels may read
  std::string place(const DeviceAccess& access) const;
  // width and height bytes with a pitch on either side; which side is the host's.
  // A stream is busy for so long, behind what it was given before.
  void pass(CudaStream stream, double seconds) { stream_seconds_[reinterpret_cast<std::uint64_t>(stream)] += seconds; }
  CudaResult copy(const char* name, DeviceAccess to, bool to_device, DeviceAccess from, bool from_device, CudaStream stream);
  CudaResult launch(CudaFunction function, const std::uint32_t grid[3], const std::uint32_t block[3], std::uint32_t shared_bytes,
                    CudaStream stream, void** parameters);
  // Runs `wait`, then says what has failed meanwhile.
  CudaResult waited(const std::function<void()>& wait);

  void describe(CudaDriver& driver);
  void fill_memory(CudaDriver& driver);
  void fill_streams(CudaDriver& driver);
  void fill_code(CudaDriver& driver);

  const FakeCudaOptions options_;
  std::unique_ptr<OrderedStreams> streams_;
  bool initialised_ = false, has_failed_ = false;
  std::optional<std::uint64_t> failing_call_, failing_work_;
  CudaResult call_result_{}, work_result_{};
  CudaResult broken_ = CudaResult::success;  // what every call says from now on
  std::uint64_t next_handle_ = 0x1000, library_bytes_ = 0;
  std::map<std::thread::id, std::uint64_t> current_;               // context of a thread
  std::set<std::uint64_t> contexts_, mapping_contexts_, modules_;  // mapping_contexts_: that kernels read registered memory in
  std::map<std::uint64_t, std::string> functions_;
  std::map<std::uint64_t, std::size_t> stream_handles_, event_handles_;
  std::map<std::uint64_t, Memory> device_memory_, host_memory_;
  std::map<std::uint64_t, double> stream_seconds_, event_seconds_;  // event_seconds_: of events with time
  std::map<std::uint64_t, Registered> registered_;
  std::string left_to_context_;
  std::vector<FakeCall> calls_;
};

}  // namespace leafcutter::offload::test
