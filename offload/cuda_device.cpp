#include "offload/cuda_device.h"

#include <algorithm>
#include <map>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/checked.h"
#include "kernels/cuda/embedded_ptx.h"
#include "kernels/cuda/launch_shape.h"
#include "offload/cublas_products.h"

namespace leafcutter::offload {
namespace {

constexpr std::uint64_t kGranularity = std::uint64_t{2} << 20;  // of what the driver takes for allocations
constexpr std::uint64_t kLeftFree = std::uint64_t{64} << 20;    // where all that is free may be taken: for the driver and for the screen

std::size_t extent(const CopyShape& shape, std::size_t stride) { return (shape.rows - 1) * stride + shape.row_bytes; }
bool is_one_piece(const CopyShape& shape) {
  return shape.rows == 1 || (shape.to_stride == shape.row_bytes && shape.from_stride == shape.row_bytes);
}

std::string one_line(std::string text) {
  for (char& c : text)
    if (c == '\n' || c == '\r' || c == '\0') c = ' ';
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

class DriverDevice final : public CudaDevice {
 public:
  DriverDevice(const CudaDriver& driver, const CudaDeviceOptions& options) : driver_(driver) {
    const CudaCards cards = list_cuda_cards(driver_);
    card_ = choose_cuda_card(cards, options.gpu);
    driver_version_ = cards.driver_version;
    properties_.name = card_.name;
    properties_.copy_engines = static_cast<std::size_t>(std::clamp(card_.copy_engines, 1, 2));
    if (options.code.ptx.empty())
      throw Error(ErrorKind::device, card_.name, "this program holds no kernels for it: " + std::string(gpu::embedded_ptx_note()),
                  "build with clang++-19 (./quickstart --cuda), or use --device cpu");
    try {
      open(options);
    } catch (...) {
      close();
      throw;
    }
  }

  ~DriverDevice() override { close(); }

  const DeviceProperties& properties() const override { return properties_; }
  const CudaCard& card() const override { return card_; }
  int driver_version() const override { return driver_version_; }
  const CudaOverhead& overhead() const override { return overhead_; }
  bool runs_cubin() const override { return runs_cubin_; }
  int cublas_version() const override { return cublas_ ? cublas_->version() : 0; }
  void use_cublas(bool use) override { uses_cublas_ = use; }

  // ---- memory

  DeviceAddress allocate(std::size_t bytes, const std::string& what) override {
    enter();
    const std::uint64_t counted = round_up(bytes, kDeviceAlignment), free_bytes = properties_.memory_bytes - allocated_;
    if (counted > free_bytes)
      throw DeviceError(DeviceFailure::out_of_memory, properties_.name + ", " + what,
                        "needs " + format_bytes(counted) + " of device memory, " + format_bytes(free_bytes) + " of " +
                            format_bytes(properties_.memory_bytes) + " are free",
                        "raise --device-memory, or plan with less");
    CudaAddress address = 0;
    check(driver_.memory_allocate, what + ", " + format_bytes(bytes), DeviceFailure::out_of_memory, &address, bytes);
    allocations_.emplace(address, counted);
    allocated_ += counted;
    most_allocated_ = std::max(most_allocated_, allocated_);
    return {address};
  }

  void free(DeviceAddress address) noexcept override {
    drain();
    const auto found = allocations_.find(address.value);
    if (found == allocations_.end()) return;
    attempt(driver_.memory_free, address.value);
    allocated_ -= found->second;
    allocations_.erase(found);
  }

  std::byte* allocate_pinned(std::size_t bytes) override {
    enter();
    void* memory = nullptr;
    if (!accepted(driver_.host_allocate, "pinned memory", &memory, bytes, cuda::kHostPortable | cuda::kHostMapped)) return nullptr;
    pinned_[static_cast<std::byte*>(memory)] = bytes;
    return static_cast<std::byte*>(memory);
  }

  void free_pinned(std::byte* memory) noexcept override {
    drain();
    pinned_.erase(memory);
    attempt(driver_.host_free, static_cast<void*>(memory));
  }

  bool pin(std::span<std::byte> memory) override {
    enter();
    if (!accepted(driver_.host_register, "pinning memory", static_cast<void*>(memory.data()), memory.size(),
                  cuda::kHostPortable | cuda::kHostMapped))
      return false;
    pinned_[memory.data()] = memory.size();
    return true;
  }

  void unpin(std::span<std::byte> memory) noexcept override {
    drain();
    pinned_.erase(memory.data());
    attempt(driver_.host_unregister, static_cast<void*>(memory.data()));
  }

  std::uint64_t allocated_bytes() const override { return allocated_; }
  std::uint64_t most_allocated_bytes() const override { return most_allocated_; }

  // ---- streams and events

  DeviceStream make_stream() override {
    enter();
    CudaStream stream = nullptr;
    check(driver_.stream_create, "a stream", DeviceFailure::launch, &stream, cuda::kStreamNonBlocking);
    streams_.push_back(stream);
    return static_cast<DeviceStream>(streams_.size() - 1);
  }

  DeviceEvent make_event() override { return make_event(cuda::kEventBlockingWait | cuda::kEventNoTiming); }
  std::optional<DeviceEvent> make_timed_event() override { return make_event(cuda::kEventBlockingWait); }

  double seconds_between(DeviceEvent first, DeviceEvent second) override {
    enter();
    float milliseconds = 0;
    check(driver_.event_elapsed, "the time between two places of a stream", DeviceFailure::launch, &milliseconds, event_of(first),
          event_of(second));
    return static_cast<double>(milliseconds) / 1e3;
  }

  void record(DeviceEvent event, DeviceStream stream) override {
    enter();
    check(driver_.event_record, "marking a place of a stream", DeviceFailure::launch, event_of(event), stream_of(stream));
  }

  void wait(DeviceStream stream, DeviceEvent event) override {
    enter();
    check(driver_.stream_wait, "ordering two streams", DeviceFailure::launch, stream_of(stream), event_of(event), 0u);
  }

  bool is_done(DeviceEvent event) override {
    enter();
    const CudaResult result = driver_.event_query.function(event_of(event));
    if (result == CudaResult::not_ready) return false;
    judge(driver_.event_query.name, result, "asking for a place of a stream", DeviceFailure::launch);
    return true;
  }

  void synchronize(DeviceEvent event) override {
    enter();
    check(driver_.event_synchronize, "waiting for a place of a stream", DeviceFailure::launch, event_of(event));
  }

  void synchronize(DeviceStream stream) override {
    enter();
    check(driver_.stream_synchronize, "waiting for a stream", DeviceFailure::launch, stream_of(stream));
  }

  // A stream that cannot be waited for may still write: then nothing can be relied on.
  bool drain() noexcept override {
    if (lost_call_) return false;
    attempt(driver_.context_set_current, context_);
    for (const CudaStream stream : streams_) {
      CudaResult result = driver_.stream_synchronize.function(stream);
      if (result != CudaResult::success && !is_lost(result)) result = driver_.stream_synchronize.function(stream);
      if (result != CudaResult::success) lose(driver_.stream_synchronize.name, result);
    }
    return !lost_call_;
  }

  // ---- work

  void copy_to_device(DeviceAddress to, const std::byte* from, const CopyShape& shape, DeviceStream stream) override {
    enter();
    if (is_one_piece(shape)) {
      check(driver_.copy_to_device, "a copy to the card", DeviceFailure::copy, to.value, from, shape.rows * shape.row_bytes,
            stream_of(stream));
    } else {
      CudaCopy2d copy = rows_of(shape);
      copy.from_memory = cuda::kMemoryHost;
      copy.from_host = from;
      copy.to_memory = cuda::kMemoryDevice;
      copy.to_device = to.value;
      check(driver_.copy_2d, "a copy of rows to the card", DeviceFailure::copy, &copy, stream_of(stream));
    }
    if (!is_pinned(from, extent(shape, shape.from_stride))) finish(stream);
  }

  // A kernel that reads the host's memory: a copy would wait behind all that are under way, whatever its stream. Where the card cannot, or the numbers are no words, it is a copy.
  void fetch(DeviceAddress to, const std::byte* from, const CopyShape& shape, DeviceStream stream) override {
    constexpr std::uint64_t kWord = 4;
    const FetchRowsLaunch fetched{
        to, {reinterpret_cast<std::uint64_t>(from)}, shape.rows, shape.row_bytes, shape.to_stride, shape.from_stride};
    const std::uint64_t all =
        fetched.to.value | fetched.from.value | fetched.row_bytes | (shape.rows > 1 ? shape.to_stride | shape.from_stride : 0);
    const bool is_fetched =
        card_.reads_host_memory && all % kWord == 0 && shape.rows <= gpu::kMostGridYz && is_pinned(from, extent(shape, shape.from_stride));
    if (!is_fetched) return copy_to_device(to, from, shape, stream);
    enter();
    launch_kernel(FetchRowsLaunch::kKernel, &fetched, stream);
  }

  void copy_to_host(std::byte* to, DeviceAddress from, const CopyShape& shape, DeviceStream stream) override {
    enter();
    if (is_one_piece(shape)) {
      check(driver_.copy_to_host, "a copy from the card", DeviceFailure::copy, static_cast<void*>(to), from.value,
            shape.rows * shape.row_bytes, stream_of(stream));
    } else {
      CudaCopy2d copy = rows_of(shape);
      copy.from_memory = cuda::kMemoryDevice;
      copy.from_device = from.value;
      copy.to_memory = cuda::kMemoryHost;
      copy.to_host = to;
      check(driver_.copy_2d, "a copy of rows from the card", DeviceFailure::copy, &copy, stream_of(stream));
    }
    if (!is_pinned(to, extent(shape, shape.to_stride))) finish(stream);
  }

  // Row by row: within a card the driver promises copies of rows only for strides that it chose itself.
  void copy_on_device(DeviceAddress to, DeviceAddress from, const CopyShape& shape, DeviceStream stream) override {
    enter();
    const bool one = is_one_piece(shape);
    for (std::size_t row = 0; row < (one ? 1 : shape.rows); row++)
      check(driver_.copy_on_device, "a copy within the card", DeviceFailure::copy, (to + row * shape.to_stride).value,
            (from + row * shape.from_stride).value, one ? shape.rows * shape.row_bytes : shape.row_bytes, stream_of(stream));
  }

  using Device::launch;
  void launch(DeviceKernel kernel, const void* arguments, DeviceStream stream) override {
    enter();
    if (kernel == DeviceKernel::product && cublas_ && uses_cublas_) {
      const auto& product = *static_cast<const ProductLaunch*>(arguments);
      if (CublasProducts::takes(product)) return multiply(product, stream);
    }
    launch_kernel(kernel, arguments, stream);
  }

 private:
  gpu::LaunchShape shape_of(DeviceKernel kernel, const void* arguments) const {
    try {
      return gpu::launch_shape(kernel, arguments);
    } catch (const Error& e) { throw DeviceError(DeviceFailure::launch, properties_.name, e.what()); }
  }

  CudaStream stream_of(DeviceStream id) const { return streams_.at(static_cast<std::size_t>(id)); }
  CudaEvent event_of(DeviceEvent id) const { return events_.at(static_cast<std::size_t>(id)); }

  DeviceEvent make_event(unsigned flags) {
    enter();
    CudaEvent event = nullptr;
    check(driver_.event_create, "an event", DeviceFailure::launch, &event, flags);
    events_.push_back(event);
    return static_cast<DeviceEvent>(events_.size() - 1);
  }

  void launch_kernel(DeviceKernel kernel, const void* arguments, DeviceStream stream) {
    const gpu::LaunchShape shape = shape_of(kernel, arguments);
    if (shape.empty()) return;
    void* parameters[] = {const_cast<void*>(arguments)};  // the driver copies the struct
    check(driver_.launch, shape.function, DeviceFailure::launch, functions_.at(shape.function), shape.grid[0], shape.grid[1], shape.grid[2],
          shape.threads, 1u, 1u, shape.shared_bytes, stream_of(stream), static_cast<void**>(parameters), static_cast<void**>(nullptr));
  }

  // The workspace is one for all streams.
  void multiply(const ProductLaunch& product, DeviceStream stream) {
    if (cublas_stream_ && *cublas_stream_ != stream)
      check(driver_.stream_wait, "taking turns with the workspace of cuBLAS", DeviceFailure::launch, stream_of(stream),
            event_of(cublas_done_), 0u);
    try {
      cublas_->multiply(product, stream_of(stream),
                        [&](DeviceKernel kernel, const void* arguments) { launch_kernel(kernel, arguments, stream); });
      check(driver_.event_record, "taking turns with the workspace of cuBLAS", DeviceFailure::launch, event_of(cublas_done_),
            stream_of(stream));
    } catch (...) {
      attempt(driver_.stream_synchronize, stream_of(stream));  // a part of it may be under way, with no event behind it
      cublas_stream_.reset();
      throw;
    }
    cublas_stream_ = stream;
  }

  // Memory that is not pinned is the caller's again when a copy returns, or throws.
  void finish(DeviceStream stream) {
    const CudaResult result = driver_.stream_synchronize.function(stream_of(stream));
    if (result == CudaResult::success) return;
    drain();
    judge(driver_.stream_synchronize.name, result, "waiting for a copy of memory that is not pinned", DeviceFailure::copy);
  }

  // ---- driver calls: check throws, accepted takes a refusal for an answer, attempt is for freeing

  template <class... Arguments, class... Given>
  void check(const CudaCall<Arguments...>& call, std::string_view what, DeviceFailure failure, Given... given) {
    const CudaResult result = call.function(given...);
    if (result != CudaResult::success) judge(call.name, result, what, failure);
  }

  template <class... Arguments, class... Given>
  bool accepted(const CudaCall<Arguments...>& call, std::string_view what, Given... given) {
    const CudaResult result = call.function(given...);
    if (is_lost(result)) judge(call.name, result, what, DeviceFailure::lost);
    return result == CudaResult::success;
  }

  template <class... Arguments, class... Given>
  static void attempt(const CudaCall<Arguments...>& call, Given... given) noexcept {
    (void)call.function(given...);
  }

  void judge(const char* call, CudaResult result, std::string_view what, DeviceFailure failure) {
    if (result == CudaResult::success) return;
    const std::string where = card_.name + ", " + call + " for " + std::string(what), text = cuda_result_text(driver_, result);
    if (is_lost(result)) {
      lose(call, result);
      throw DeviceError(DeviceFailure::lost, where, text + ": the device is lost", "load the model again, or use --device cpu");
    }
    if (result == CudaResult::out_of_memory)
      throw DeviceError(DeviceFailure::out_of_memory, where, text,
                        "close what else uses the card, or set a smaller --device-memory so that the plan leaves room");
    throw DeviceError(failure == DeviceFailure::out_of_memory ? DeviceFailure::launch : failure, where, text,
                      "try again, or use --device cpu");
  }

  void lose(const char* call, CudaResult result) noexcept {
    if (lost_call_) return;
    lost_call_ = call;
    lost_result_ = result;
  }

  // Any thread may call, one at a time: the driver has a context for each.
  void enter() {
    if (lost_call_)
      throw DeviceError(DeviceFailure::lost, card_.name,
                        std::string("the device is lost since ") + lost_call_ + " said " + cuda_result_text(driver_, lost_result_),
                        "load the model again, or use --device cpu");
    check(driver_.context_set_current, "using the card", DeviceFailure::launch, context_);
  }

  // ---- beginning and end

  std::uint64_t free_bytes() {
    std::size_t free = 0, total = 0;
    check(driver_.memory_info, "asking for free memory", DeviceFailure::launch, &free, &total);
    return free;
  }

  void open(const CudaDeviceOptions& options) {
    // Free memory cannot be asked for without a context, so what ours takes is measured from another one.
    const unsigned flags = cuda::kContextBlockingWait | cuda::kContextMapsHostMemory;
    check(driver_.context_create, "measuring what a context takes", DeviceFailure::launch, &measuring_, flags, card_.index);
    const std::uint64_t before = free_bytes();
    check(driver_.context_create, "using the card", DeviceFailure::launch, &context_, flags, card_.index);
    const std::uint64_t with_context = free_bytes();
    load_code(options.code);
    const std::uint64_t with_code = free_bytes();
    if (options.cublas) open_cublas(*options.cublas);
    const std::uint64_t with_cublas = options.cublas ? free_bytes() : with_code;
    overhead_ = {before - std::min(before, with_context), with_context - std::min(with_context, with_code),
                 with_code - std::min(with_code, with_cublas)};
    check(driver_.context_destroy, "measuring what a context takes", DeviceFailure::launch, std::exchange(measuring_, nullptr));
    check(driver_.context_set_current, "using the card", DeviceFailure::launch, context_);

    const std::uint64_t all = overhead_.context_bytes + overhead_.code_bytes + overhead_.cublas_bytes, free = free_bytes();
    const std::uint64_t most = free - std::min(free, kLeftFree), wanted = options.memory ? options.memory->resolve(most + all) : most + all;
    properties_.memory_bytes = std::min(most, wanted - std::min(wanted, all)) / kGranularity * kGranularity;
    if (properties_.memory_bytes == 0)
      throw DeviceError(DeviceFailure::out_of_memory, card_.name + ", --device-memory " + format_bytes(wanted),
                        (cublas_ ? "context, code and cuBLAS take " : "context and code of the driver take ") + format_bytes(all) + ", " +
                            format_bytes(free) + " are free",
                        options.memory ? cublas_ ? "raise --device-memory, or use --cublas off" : "raise --device-memory"
                                       : "close what else uses the card, or use --device cpu");
  }

  void open_cublas(const CublasLibrary& library) {
    check(driver_.memory_allocate, "the workspace of cuBLAS", DeviceFailure::out_of_memory, &cublas_workspace_,
          std::size_t{CublasProducts::kWorkspaceBytes});
    cublas_.emplace(library, card_.name, DeviceAddress{cublas_workspace_});
    cublas_done_ = make_event();
  }

  void load_code(const CudaCode& code) {
    const bool is_61 = card_.capability_major == 6 && card_.capability_minor == 1;
    runs_cubin_ = is_61 && !code.cubin.empty() && accepted_module(code.cubin.data());
    if (!runs_cubin_) load_ptx(code.ptx);
    for (const char* const name : gpu::device_functions())
      check(driver_.module_function, std::string("kernel ") + name, DeviceFailure::launch, &functions_[name], module_, name);
  }

  // A driver that is older than the compiler need not take its machine code.
  bool accepted_module(const void* image) {
    return accepted(driver_.module_load, "the kernels for capability 6.1", &module_, image, 0u, static_cast<int*>(nullptr),
                    static_cast<void**>(nullptr));
  }

  void load_ptx(std::string_view ptx) {
    std::string log(4096, '\0');
    int options[] = {cuda::kJitErrorLog, cuda::kJitErrorLogBytes};
    void* values[] = {log.data(), reinterpret_cast<void*>(log.size())};  // numbers are given as pointers
    const CudaResult result = driver_.module_load.function(&module_, ptx.data(), 2, options, values);
    if (result == CudaResult::success) return;
    const std::string said = one_line(log.substr(0, std::min(log.find('\0'), std::size_t{300})));
    const std::string what = "compiling the kernels" + (said.empty() ? "" : " (it says: " + said + ")");
    if (is_lost(result) || result == CudaResult::out_of_memory) judge(driver_.module_load.name, result, what, DeviceFailure::launch);
    throw DeviceError(DeviceFailure::launch, card_.name + ", " + driver_.module_load.name + " for " + what,
                      cuda_result_text(driver_, result) + ", from a driver of CUDA " + cuda_version_text(driver_version_),
                      result == CudaResult::jit_compiler_not_found
                          ? "install libnvidia-ptxjitcompiler of the driver's version, or use --device cpu"
                          : "install a newer driver, or use --device cpu");
  }

  void close() noexcept {
    if (context_) {
      drain();
      attempt(driver_.context_set_current, context_);  // drain() leaves that out where the device is lost
      cublas_.reset();
      if (cublas_workspace_) attempt(driver_.memory_free, cublas_workspace_);
      for (const CudaEvent event : events_) attempt(driver_.event_destroy, event);
      for (const CudaStream stream : streams_) attempt(driver_.stream_destroy, stream);
      if (module_) attempt(driver_.module_unload, module_);
      attempt(driver_.context_destroy, context_);  // and with it all memory that is left
    }
    if (measuring_) attempt(driver_.context_destroy, measuring_);
  }

  bool is_pinned(const std::byte* memory, std::size_t bytes) const {
    auto next = pinned_.upper_bound(memory);
    if (next == pinned_.begin()) return false;
    const auto& [begin, size] = *std::prev(next);
    return memory + bytes <= begin + size;
  }

  static CudaCopy2d rows_of(const CopyShape& shape) {
    CudaCopy2d copy;
    copy.from_pitch = shape.from_stride;
    copy.to_pitch = shape.to_stride;
    copy.width_bytes = shape.row_bytes;
    copy.height = shape.rows;
    return copy;
  }

  const CudaDriver driver_;
  CudaCard card_;
  int driver_version_ = 0;
  DeviceProperties properties_;
  CudaOverhead overhead_;
  bool runs_cubin_ = false;
  const char* lost_call_ = nullptr;  // what said that the device is lost; null: it is not
  CudaResult lost_result_ = CudaResult::success;
  CudaContext context_ = nullptr, measuring_ = nullptr;
  CudaModule module_ = nullptr;
  std::unordered_map<std::string_view, CudaFunction> functions_;
  std::vector<CudaStream> streams_;
  std::vector<CudaEvent> events_;
  CudaAddress cublas_workspace_ = 0;
  std::optional<CublasProducts> cublas_;  // none: all products are ours
  bool uses_cublas_ = true;
  DeviceEvent cublas_done_{};                  // with the workspace
  std::optional<DeviceStream> cublas_stream_;  // that used it last
  std::map<CudaAddress, std::uint64_t> allocations_;
  std::map<const std::byte*, std::size_t> pinned_;
  std::uint64_t allocated_ = 0, most_allocated_ = 0;
};

}  // namespace

CudaCode embedded_cuda_code() { return {gpu::embedded_ptx(), gpu::embedded_cubin()}; }

std::unique_ptr<CudaDevice> make_cuda_device(const CudaDriver& driver, const CudaDeviceOptions& options) {
  return std::make_unique<DriverDevice>(driver, options);
}

}  // namespace leafcutter::offload
