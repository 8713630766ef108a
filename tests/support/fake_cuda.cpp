#include "tests/support/fake_cuda.h"

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <utility>

#include "base/checked.h"
#include "kernels/cuda/launch_shape.h"
#include "kernels/matmul.h"

namespace leafcutter::offload::test {
namespace {

constexpr int kPoison = 0xff;
constexpr std::uint64_t kGranularity = 2 << 20;  // what a driver takes for an allocation is a multiple of it
constexpr auto kNotInitialised = static_cast<CudaResult>(3), kAlready = CudaResult::host_memory_already_registered;

template <class T>
std::uint64_t number(T value) {
  if constexpr (std::is_pointer_v<T>)
    return reinterpret_cast<std::uint64_t>(value);
  else
    return static_cast<std::uint64_t>(value);
}
template <class Handle>
Handle handle(std::uint64_t value) {
  return reinterpret_cast<Handle>(value);  // NOLINT(performance-no-int-to-ptr)
}
std::byte* pointer(std::uint64_t address) { return reinterpret_cast<std::byte*>(address); }  // NOLINT(performance-no-int-to-ptr)

std::uint64_t extent(const DeviceAccess& a) { return (a.rows - 1) * a.stride + a.row_bytes; }

std::vector<std::byte> gathered(const DeviceAccess& from) {
  std::vector<std::byte> bytes(from.rows * from.row_bytes);
  for (std::uint64_t row = 0; row < from.rows; row++)
    std::memcpy(bytes.data() + row * from.row_bytes, pointer(from.begin.value + row * from.stride), from.row_bytes);
  return bytes;
}

// Entry points are called lc_KERNEL or lc_KERNEL_VARIANT.
const DeviceKernelInfo* kernel_of(const std::string& function) {
  for (std::size_t k = 0; k < kDeviceKernels; k++) {
    const DeviceKernelInfo& info = device_kernel(static_cast<DeviceKernel>(k));
    if (function.starts_with(std::string("lc_") + info.name)) return &info;
  }
  return nullptr;
}

constexpr std::pair<CudaResult, const char*> kNames[] = {
    {CudaResult::success, "CUDA_SUCCESS"},
    {CudaResult::invalid_value, "CUDA_ERROR_INVALID_VALUE"},
    {CudaResult::out_of_memory, "CUDA_ERROR_OUT_OF_MEMORY"},
    {CudaResult::stub_library, "CUDA_ERROR_STUB_LIBRARY"},
    {CudaResult::no_device, "CUDA_ERROR_NO_DEVICE"},
    {CudaResult::no_binary_for_gpu, "CUDA_ERROR_NO_BINARY_FOR_GPU"},
    {CudaResult::unsupported_ptx_version, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION"},
    {CudaResult::illegal_address, "CUDA_ERROR_ILLEGAL_ADDRESS"},
    {CudaResult::launch_failed, "CUDA_ERROR_LAUNCH_FAILED"},
    {CudaResult::unknown, "CUDA_ERROR_UNKNOWN"},
};

}  // namespace

FakeCuda::FakeCuda(const FakeCudaOptions& options)
    : options_(options), streams_(std::make_unique<OrderedStreams>(options.seed, [this](const DeviceAccess& a) { return place(a); })) {}

CudaDriver FakeCuda::driver() {
  CudaDriver d;
  describe(d);
  fill_memory(d);
  fill_streams(d);
  fill_code(d);
  for_each_call(d, [&](auto& call) {
    const std::string_view name = call.name;
    const bool frees = name.find("Destroy") != name.npos || name.find("Free") != name.npos || name.find("Unload") != name.npos ||
                       name.find("Unregister") != name.npos;
    if (name.find("cuGetError") == name.npos) record(call, frees);
  });
  return d;
}

template <class... Arguments>
void FakeCuda::record(CudaCall<Arguments...>& call, bool frees) {
  call.function = [this, frees, name = std::string_view(call.name), does = std::move(call.function)](Arguments... arguments) {
    calls_.push_back({name, {number(arguments)...}});
    CudaResult failed = fault();
    if (broken_ != CudaResult::success && name != "cuCtxDestroy_v2" && name != "cuCtxCreate_v2" && name != "cuCtxSetCurrent")
      return broken_;
    if (failed != CudaResult::success && !frees) return failed;
    const CudaResult done = does(arguments...);
    return failed != CudaResult::success ? failed : done;
  };
}

CudaResult FakeCuda::fault() {
  if (!failing_call_ || (*failing_call_)-- > 0) return CudaResult::success;
  failing_call_.reset();
  has_failed_ = true;
  if (is_lost(call_result_) && !contexts_.empty()) broken_ = call_result_;
  return call_result_;
}

void FakeCuda::fail_call(std::uint64_t index, CudaResult result) {
  failing_call_ = index;
  call_result_ = result;
  has_failed_ = false;
}
void FakeCuda::fail_work(std::uint64_t index, CudaResult result) {
  failing_work_ = index;
  work_result_ = result;
  has_failed_ = false;
}

std::size_t FakeCuda::calls_of(std::string_view name) const {
  return static_cast<std::size_t>(std::count_if(calls_.begin(), calls_.end(), [&](const FakeCall& call) { return call.name == name; }));
}

CudaResult FakeCuda::wrong(const std::string& what, CudaResult result) {
  streams_->add_error(std::string(calls_.back().name) + ": " + what);
  return result;
}

std::string FakeCuda::alive() const {
  std::string text;
  const auto count = [&](const char* name, std::size_t n) {
    if (n > 0) text += (text.empty() ? "" : ", ") + std::to_string(n) + " " + name;
  };
  count("contexts", contexts_.size());
  count("modules", modules_.size());
  count("streams", stream_handles_.size());
  count("events", event_handles_.size());
  count("allocations", device_memory_.size());
  count("pinned allocations", host_memory_.size());
  count("registrations", registered_.size());
  return text;
}

std::uint64_t FakeCuda::free_bytes() const {
  std::uint64_t used =
      options_.used_by_others + library_bytes_ + contexts_.size() * options_.context_bytes + modules_.size() * options_.code_bytes;
  for (const auto& [address, memory] : device_memory_) used += round_up(memory.size, kGranularity);
  const std::uint64_t all = options_.cards.front().memory_bytes;
  return all - std::min(all, used);
}

void FakeCuda::destroy_context(std::uint64_t context) {
  contexts_.erase(context);
  std::erase_if(current_, [&](const auto& of_thread) { return of_thread.second == context; });
  if (!contexts_.empty()) return;
  streams_->drain();
  if (broken_ == CudaResult::success) left_to_context_ += alive();
  modules_.clear();
  functions_.clear();
  stream_handles_.clear();
  event_handles_.clear();
  device_memory_.clear();
  host_memory_.clear();
  registered_.clear();
  broken_ = CudaResult::success;
}

void FakeCuda::describe(CudaDriver& d) {
  d.error_name.function = [](CudaResult result, const char** name) {
    for (const auto& [value, text] : kNames)
      if (value == result) return *name = text, CudaResult::success;
    *name = nullptr;
    return CudaResult::invalid_value;
  };
  d.error_text.function = [](CudaResult, const char** text) {
    *text = "as the test wants it";
    return CudaResult::success;
  };
  d.init.function = [this](unsigned flags) {
    if (flags != 0) return wrong("flags must be 0");
    initialised_ = options_.init == CudaResult::success;
    return options_.init;
  };
  d.driver_version.function = [this](int* version) { return *version = options_.driver_version, CudaResult::success; };
  d.device_count.function = [this](int* count) {
    if (!initialised_) return wrong("before cuInit", kNotInitialised);
    return *count = static_cast<int>(options_.cards.size()), CudaResult::success;
  };
  const auto exists = [this](int card) { return initialised_ && card >= 0 && static_cast<std::size_t>(card) < options_.cards.size(); };
  d.device.function = [this, exists](CudaDeviceIndex* device, int ordinal) {
    if (!exists(ordinal)) return wrong("no such card", CudaResult::invalid_device);
    return *device = ordinal, CudaResult::success;
  };
  d.device_name.function = [this, exists](char* name, int bytes, CudaDeviceIndex device) {
    if (!exists(device)) return wrong("no such card", CudaResult::invalid_device);
    std::strncpy(name, options_.cards[static_cast<std::size_t>(device)].name.c_str(), static_cast<std::size_t>(bytes - 1));
    return CudaResult::success;
  };
  d.device_memory.function = [this, exists](std::size_t* bytes, CudaDeviceIndex device) {
    if (!exists(device)) return wrong("no such card", CudaResult::invalid_device);
    return *bytes = options_.cards[static_cast<std::size_t>(device)].memory_bytes, CudaResult::success;
  };
  d.device_attribute.function = [this, exists](int* value, int attribute, CudaDeviceIndex device) {
    if (!exists(device)) return wrong("no such card", CudaResult::invalid_device);
    const FakeCard& card = options_.cards[static_cast<std::size_t>(device)];
    switch (attribute) {
      case cuda::kCapabilityMajor:
        return *value = card.capability_major, CudaResult::success;
      case cuda::kCapabilityMinor:
        return *value = card.capability_minor, CudaResult::success;
      case cuda::kMultiprocessors:
        return *value = card.multiprocessors, CudaResult::success;
      case cuda::kCopyEngines:
        return *value = card.copy_engines, CudaResult::success;
      case cuda::kMapsHostMemory:
      case cuda::kUnifiedAddressing:
        return *value = 1, CudaResult::success;
      case cuda::kTakesRegisteredAddresses:
        return *value = card.reads_host_memory ? 1 : 0, CudaResult::success;
      case cuda::kPciBus:
        return *value = card.pci_bus, CudaResult::success;
      case cuda::kPciDevice:
      case cuda::kPciDomain:
        return *value = 0, CudaResult::success;
      default:
        return wrong("attribute " + std::to_string(attribute));
    }
  };
  d.context_create.function = [this, exists](CudaContext* context, unsigned flags, CudaDeviceIndex device) {
    if (!exists(device)) return wrong("no such card", CudaResult::invalid_device);
    if ((flags & ~cuda::kContextMapsHostMemory) != cuda::kContextBlockingWait) return wrong("flags");
    if (free_bytes() < options_.context_bytes) return CudaResult::out_of_memory;
    const std::uint64_t made = current_[std::this_thread::get_id()] = new_handle();
    contexts_.insert(made);
    if ((flags & cuda::kContextMapsHostMemory) != 0) mapping_contexts_.insert(made);
    return *context = handle<CudaContext>(made), CudaResult::success;
  };
  d.context_destroy.function = [this](CudaContext context) {
    if (contexts_.count(number(context)) == 0) return wrong("no context", CudaResult::invalid_context);
    return destroy_context(number(context)), CudaResult::success;
  };
  d.context_set_current.function = [this](CudaContext context) {
    if (contexts_.count(number(context)) == 0) return wrong("no context", CudaResult::invalid_context);
    return current_[std::this_thread::get_id()] = number(context), CudaResult::success;
  };
}

CudaResult FakeCuda::allocate(std::map<std::uint64_t, Memory>& memory, std::size_t bytes, std::uint64_t& address) {
  if (!is_current()) return wrong("no context is current", CudaResult::invalid_context);
  if (bytes == 0) return wrong("no bytes");
  if (&memory == &device_memory_ && round_up(bytes, kGranularity) > free_bytes()) return CudaResult::out_of_memory;
  PageBuffer buffer(bytes, "memory of the fake driver");
  std::memset(buffer.data(), kPoison, buffer.size());
  address = number(buffer.data());
  memory[address] = {std::move(buffer), bytes};
  return CudaResult::success;
}

void FakeCuda::fill_memory(CudaDriver& d) {
  d.memory_info.function = [this](std::size_t* free, std::size_t* total) {
    if (!is_current()) return wrong("no context is current", CudaResult::invalid_context);
    *free = free_bytes();
    *total = options_.cards.front().memory_bytes;
    return CudaResult::success;
  };
  d.memory_allocate.function = [this](CudaAddress* address, std::size_t bytes) { return allocate(device_memory_, bytes, *address); };
  d.host_allocate.function = [this](void** memory, std::size_t bytes, unsigned flags) {
    if ((flags & ~cuda::kHostMapped) != cuda::kHostPortable) return wrong("flags");  // mapped whatever they say
    std::uint64_t address = 0;
    const CudaResult result = allocate(host_memory_, bytes, address);
    return *memory = pointer(address), result;
  };
  const auto release = [this](std::map<std::uint64_t, Memory>& memory, std::uint64_t address) {
    const auto found = memory.find(address);
    if (found == memory.end()) return wrong("nothing was allocated there");
    if (streams_->in_use({{address}, 1, found->second.size, 0, true})) return wrong("work that was enqueued may still use this memory");
    std::memset(found->second.bytes.data(), kPoison, found->second.size);
    memory.erase(found);
    return CudaResult::success;
  };
  d.memory_free.function = [this, release](CudaAddress address) {
    if (!is_current()) return wrong("no context is current", CudaResult::invalid_context);
    return release(device_memory_, address);
  };
  d.host_free.function = [this, release](void* memory) { return release(host_memory_, number(memory)); };
  d.host_register.function = [this](void* memory, std::size_t bytes, unsigned flags) {
    if (!is_current()) return wrong("no context is current", CudaResult::invalid_context);
    if (bytes == 0 || (flags & ~cuda::kHostMapped) != cuda::kHostPortable) return wrong("bytes or flags");
    for (const auto& [begin, registered] : registered_)
      if (number(memory) < begin + registered.size && begin < number(memory) + bytes) return wrong("registered already", kAlready);
    const bool is_mapped = (flags & cuda::kHostMapped) != 0 && mapping_contexts_.count(current_[std::this_thread::get_id()]) != 0;
    return registered_[number(memory)] = {bytes, is_mapped}, CudaResult::success;
  };
  d.host_unregister.function = [this](void* memory) {
    const auto found = registered_.find(number(memory));
    if (found == registered_.end()) return wrong("not registered");
    if (streams_->in_use({{found->first}, 1, found->second.size, 0, true}))
      return wrong("work that was enqueued may still use this memory");
    return registered_.erase(found), CudaResult::success;
  };
  const auto one = [](std::uint64_t begin, std::size_t bytes, bool write) { return DeviceAccess{{begin}, 1, bytes, 0, write}; };
  d.copy_to_device.function = [this, one](CudaAddress to, const void* from, std::size_t bytes, CudaStream stream) {
    return copy("copy to device", one(to, bytes, true), true, one(number(from), bytes, false), false, stream);
  };
  d.copy_to_host.function = [this, one](void* to, CudaAddress from, std::size_t bytes, CudaStream stream) {
    return copy("copy to host", one(number(to), bytes, true), false, one(from, bytes, false), true, stream);
  };
  d.copy_on_device.function = [this, one](CudaAddress to, CudaAddress from, std::size_t bytes, CudaStream stream) {
    return copy("copy on device", one(to, bytes, true), true, one(from, bytes, false), true, stream);
  };
  d.copy_2d.function = [this](const CudaCopy2d* c, CudaStream stream) {
    if (c->from_x_bytes != 0 || c->from_y != 0 || c->to_x_bytes != 0 || c->to_y != 0 || c->from_array || c->to_array)
      return wrong("offsets or arrays");
    if (c->from_pitch < c->width_bytes || c->to_pitch < c->width_bytes || c->height == 0) return wrong("pitch less than width, or no rows");
    const bool to_device = c->to_memory == cuda::kMemoryDevice, from_device = c->from_memory == cuda::kMemoryDevice;
    if ((!to_device && c->to_memory != cuda::kMemoryHost) || (!from_device && c->from_memory != cuda::kMemoryHost))
      return wrong("kind of memory");
    if (to_device && from_device) return wrong("rows within a card have strides that the driver chose");
    const DeviceAccess to{{to_device ? c->to_device : number(c->to_host)}, c->height, c->width_bytes, c->to_pitch, true};
    const DeviceAccess from{{from_device ? c->from_device : number(c->from_host)}, c->height, c->width_bytes, c->from_pitch, false};
    return copy("copy of rows", to, to_device, from, from_device, stream);
  };
}

const FakeCuda::Memory* FakeCuda::device_memory_at(std::uint64_t address, std::uint64_t bytes) const {
  const auto next = device_memory_.upper_bound(address);
  if (next == device_memory_.begin()) return nullptr;
  const auto& [begin, memory] = *std::prev(next);
  return address + bytes <= begin + memory.size ? &memory : nullptr;
}

bool FakeCuda::is_mapped(std::uint64_t address, std::uint64_t bytes) const {
  const auto holds = [&](std::uint64_t begin, std::uint64_t size) { return begin <= address && address + bytes <= begin + size; };
  return std::any_of(host_memory_.begin(), host_memory_.end(), [&](const auto& m) { return holds(m.first, m.second.size); }) ||
         std::any_of(registered_.begin(), registered_.end(),
                     [&](const auto& r) { return r.second.is_mapped && holds(r.first, r.second.size); });
}

std::string FakeCuda::place(const DeviceAccess& access) const {
  const Memory* const memory = device_memory_at(access.begin.value, 1);
  return memory ? "an allocation of " + std::to_string(memory->size) + " bytes" : "memory of the host";
}

CudaResult FakeCuda::copy(const char* name, DeviceAccess to, bool to_device, DeviceAccess from, bool from_device, CudaStream stream) {
  if (to.row_bytes == 0) return wrong("no bytes");
  if (to_device && !device_memory_at(to.begin.value, extent(to))) return wrong("beyond device memory: where to");
  if (from_device && !device_memory_at(from.begin.value, extent(from))) return wrong("beyond device memory: where from");
  if ((!to_device && device_memory_at(to.begin.value, 1)) || (!from_device && device_memory_at(from.begin.value, 1)))
    return wrong("an address of the card for one of the host");
  const auto moved = static_cast<double>(to.rows * to.row_bytes);
  pass(stream, from_device && to_device ? options_.launch_s + 2 * moved / options_.memory_bytes_per_s
                                        : options_.link_latency_s + moved / options_.link_bytes_per_s);
  std::vector<std::byte> before;
  if (!from_device) before = gathered(from);
  if (!to_device && !streams_->in_use(to))
    for (std::uint64_t row = 0; row < to.rows; row++) std::memset(pointer(to.begin.value + row * to.stride), kPoison, to.row_bytes);
  return enqueue(stream, name, {from, to}, [this, name, to, from, before = std::move(before)] {
    const std::vector<std::byte> bytes = gathered(from);
    if (!before.empty() && bytes != before) streams_->add_error(std::string(name) + ": its source was changed by the host before it ran");
    for (std::uint64_t row = 0; row < to.rows; row++)
      std::memcpy(pointer(to.begin.value + row * to.stride), bytes.data() + row * to.row_bytes, to.row_bytes);
  });
}

CudaResult FakeCuda::enqueue(CudaStream stream, const std::string& what, const std::vector<DeviceAccess>& accesses,
                             std::function<void()> work) {
  if (!is_current()) return wrong("no context is current", CudaResult::invalid_context);
  const auto found = stream_handles_.find(number(stream));
  if (found == stream_handles_.end()) return wrong("no stream", CudaResult::invalid_handle);
  const bool fails = failing_work_ && (*failing_work_)-- == 0;
  if (fails) failing_work_.reset();
  streams_->enqueue(found->second, streams_->named(what, found->second), accesses, [this, fails, work = std::move(work)] {
    if (broken_ != CudaResult::success) return;
    if (!fails) return work();
    has_failed_ = true;
    broken_ = work_result_;
  });
  return CudaResult::success;
}

CudaResult FakeCuda::waited(const std::function<void()>& wait) {
  wait();
  return broken_;
}

void FakeCuda::fill_streams(CudaDriver& d) {
  const auto stream = [this](CudaStream s) {
    const auto found = stream_handles_.find(number(s));
    return found == stream_handles_.end() ? std::nullopt : std::optional(found->second);
  };
  const auto event = [this](CudaEvent e) {
    const auto found = event_handles_.find(number(e));
    return found == event_handles_.end() ? std::nullopt : std::optional(found->second);
  };
  const auto no_handle = [this] { return wrong("no stream or event", CudaResult::invalid_handle); };
  d.stream_create.function = [this](CudaStream* s, unsigned flags) {
    if (!is_current()) return wrong("no context is current", CudaResult::invalid_context);
    if (flags != cuda::kStreamNonBlocking) return wrong("flags");
    const std::uint64_t made = new_handle();
    stream_handles_[made] = streams_->add_stream();
    return *s = handle<CudaStream>(made), CudaResult::success;
  };
  d.stream_destroy.function = [this, stream, no_handle](CudaStream s) {
    if (!stream(s)) return no_handle();
    return stream_handles_.erase(number(s)), CudaResult::success;
  };
  d.stream_synchronize.function = [=, this](CudaStream s) {
    if (!stream(s)) return no_handle();
    return waited([&] { streams_->synchronize_stream(*stream(s)); });
  };
  d.stream_wait.function = [=, this](CudaStream s, CudaEvent e, unsigned flags) {
    if (!stream(s) || !event(e)) return no_handle();
    if (flags != 0) return wrong("flags");
    return streams_->wait(*stream(s), *event(e)), CudaResult::success;
  };
  d.event_create.function = [this](CudaEvent* e, unsigned flags) {
    if (!is_current()) return wrong("no context is current", CudaResult::invalid_context);
    if ((flags & ~cuda::kEventNoTiming) != cuda::kEventBlockingWait) return wrong("flags");
    const std::uint64_t made = new_handle();
    if ((flags & cuda::kEventNoTiming) == 0) event_seconds_[made] = 0;
    event_handles_[made] = streams_->add_event();
    return *e = handle<CudaEvent>(made), CudaResult::success;
  };
  d.event_destroy.function = [this, event, no_handle](CudaEvent e) {
    if (!event(e)) return no_handle();
    event_seconds_.erase(number(e));
    return event_handles_.erase(number(e)), CudaResult::success;
  };
  d.event_record.function = [=, this](CudaEvent e, CudaStream s) {
    if (!stream(s) || !event(e)) return no_handle();
    if (event_seconds_.count(number(e)) > 0) event_seconds_[number(e)] = stream_seconds_[number(s)];
    return streams_->record(*event(e), *stream(s)), CudaResult::success;
  };
  d.event_query.function = [=, this](CudaEvent e) {
    if (!event(e)) return no_handle();
    bool done = false;
    const CudaResult result = waited([&] { done = streams_->is_done(*event(e)); });
    return result != CudaResult::success ? result : done ? CudaResult::success : CudaResult::not_ready;
  };
  d.event_elapsed.function = [=, this](float* milliseconds, CudaEvent first, CudaEvent second) {
    if (!event(first) || !event(second)) return no_handle();
    if (event_seconds_.count(number(first)) == 0 || event_seconds_.count(number(second)) == 0) return wrong("events without time");
    for (const CudaEvent e : {first, second}) {
      bool done = false;
      const CudaResult result = waited([&] { done = streams_->is_done(*event(e)); });
      if (result != CudaResult::success) return result;
      if (!done) return CudaResult::not_ready;
    }
    *milliseconds = static_cast<float>(1e3 * (event_seconds_[number(second)] - event_seconds_[number(first)]));
    return CudaResult::success;
  };
  d.event_synchronize.function = [=, this](CudaEvent e) {
    if (!event(e)) return no_handle();
    return waited([&] { streams_->synchronize_event(*event(e)); });
  };
}

void FakeCuda::fill_code(CudaDriver& d) {
  d.module_load.function = [this](CudaModule* module, const void* image, unsigned count, int* options, void** values) {
    if (!is_current()) return wrong("no context is current", CudaResult::invalid_context);
    const char* const text = static_cast<const char*>(image);
    const bool is_elf = std::memcmp(text, "\177ELF", 4) == 0;
    if (!is_elf && std::strstr(text, ".version") == nullptr) return wrong("neither PTX nor machine code", CudaResult::invalid_image);
    if (is_elf && !options_.takes_cubin) return CudaResult::no_binary_for_gpu;
    if (!is_elf && !options_.takes_ptx) {
      if (count != 2 || options[0] != cuda::kJitErrorLog || options[1] != cuda::kJitErrorLogBytes) return wrong("options");
      std::strncpy(static_cast<char*>(values[0]), "ptxas: Unsupported .version 6.0;\ncurrent version is '5.0'", number(values[1]) - 1);
      return CudaResult::unsupported_ptx_version;
    }
    const std::uint64_t made = new_handle();
    modules_.insert(made);
    return *module = handle<CudaModule>(made), CudaResult::success;
  };
  d.module_unload.function = [this](CudaModule module) {
    if (modules_.erase(number(module)) == 0) return wrong("no module", CudaResult::invalid_handle);
    return CudaResult::success;
  };
  d.module_function.function = [this](CudaFunction* function, CudaModule module, const char* name) {
    if (modules_.count(number(module)) == 0) return wrong("no module", CudaResult::invalid_handle);
    if (!gpu::emulation::find_kernel(name)) return wrong(std::string("no kernel ") + name, CudaResult::not_found);
    const std::uint64_t made = new_handle();
    functions_[made] = name;
    return *function = handle<CudaFunction>(made), CudaResult::success;
  };
  d.launch.function = [this](CudaFunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                             unsigned block_z, unsigned shared_bytes, CudaStream stream, void** parameters, void** extra) {
    if (extra) return wrong("extra");
    const std::uint32_t grid[3] = {grid_x, grid_y, grid_z}, block[3] = {block_x, block_y, block_z};
    return launch(function, grid, block, shared_bytes, stream, parameters);
  };
}

CudaResult FakeCuda::launch(CudaFunction function, const std::uint32_t grid[3], const std::uint32_t block[3], std::uint32_t shared_bytes,
                            CudaStream stream, void** parameters) {
  const auto found = functions_.find(number(function));
  if (found == functions_.end()) return wrong("no function", CudaResult::invalid_handle);
  const std::string& name = found->second;
  const gpu::emulation::Kernel kernel = *gpu::emulation::find_kernel(name);
  const bool grid_fits = grid[0] >= 1 && grid[0] <= gpu::kMostGridX && grid[1] >= 1 && grid[1] <= gpu::kMostGridYz && grid[2] >= 1 &&
                         grid[2] <= gpu::kMostGridYz;
  const std::uint64_t threads = std::uint64_t{block[0]} * block[1] * block[2];
  if (!grid_fits || threads == 0 || threads > gpu::kMostThreads || block[1] != 1 || block[2] != 1) return wrong(name + ": grid or block");
  if (threads > kernel.most_threads || shared_bytes > gpu::kMostSharedBytes)
    return wrong(name + ": more threads or shared memory than it may have", CudaResult::launch_out_of_resources);
  const DeviceKernelInfo* const info = kernel_of(name);
  if (!info || info->argument_bytes != kernel.argument_bytes) return wrong(name + ": its arguments are not those of the table");
  const auto* const bytes = static_cast<const std::byte*>(parameters[0]);
  std::vector<std::byte> copied(bytes, bytes + kernel.argument_bytes);
  std::vector<DeviceAccess> accesses;
  info->accesses(copied.data(), accesses);
  const bool fetches = info->kernel == DeviceKernel::fetch_rows;
  const auto reads_host = [&](const DeviceAccess& access) {
    return fetches && !access.write && options_.cards.front().reads_host_memory && is_mapped(access.begin.value, extent(access));
  };
  for (const DeviceAccess& access : accesses)
    if (access.rows > 0 && access.row_bytes > 0 && !device_memory_at(access.begin.value, extent(access)) && !reads_host(access))
      return wrong(name + (access.write ? ": writes" : ": reads") + " beyond device memory");
  double moved = 0, computed = 0;
  for (const DeviceAccess& access : accesses) moved += static_cast<double>(access.rows * access.row_bytes);
  if (info->kernel == DeviceKernel::product) {
    const auto& product = *reinterpret_cast<const ProductLaunch*>(copied.data());
    computed = 2.0 * static_cast<double>(product.strips * kernels::kStripRows * product.k * product.rows) /
               (kernels::takes_groups(product.layout) ? options_.int8_ops_per_s : options_.f32_ops_per_s);
  }
  if (fetches) computed = moved / 2 / options_.link_bytes_per_s;
  pass(stream, options_.launch_s + std::max(moved / options_.memory_bytes_per_s, computed));
  const DeviceAccess source = fetches ? accesses.front() : DeviceAccess{};
  std::vector<std::byte> fetched;
  if (fetches) fetched = gathered(source);
  return enqueue(stream, name, accesses,
                 [this, name, copied = std::move(copied), fetched = std::move(fetched), source, threads, shared_bytes,
                  blocks = std::vector<std::uint32_t>(grid, grid + 3)] {
                   if (!fetched.empty() && fetched != gathered(source))
                     streams_->add_error(name + ": its source was changed by the host before it ran");
                   try {
                     gpu::emulation::run_kernel(name, blocks.data(), static_cast<std::uint32_t>(threads), shared_bytes, copied.data(),
                                                options_.threads);
                   } catch (const std::runtime_error& e) {
                     streams_->add_error(e.what());
                     broken_ = CudaResult::launch_failed;
                   }
                 });
}

}  // namespace leafcutter::offload::test
