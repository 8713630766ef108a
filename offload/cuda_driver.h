// The functions of NVIDIA's driver (CUDA driver API) that a CUDA device needs, as a table. Declared here, looked up in libcuda.so.1 when a program wants them: no header or library of CUDA is needed to build, and the same
// program starts where there is no driver. Tests give a table of their own.
//
// Source of names, order of arguments and numbers: the CUDA driver API's reference. Functions whose name ends in _v2 are the ones with 64-bit sizes; the names without it take other arguments.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace leafcutter::offload {

enum class CudaResult : int {
  success = 0,
  invalid_value = 1,
  out_of_memory = 2,
  deinitialized = 4,
  stub_library = 34,
  device_unavailable = 46,
  no_device = 100,
  invalid_device = 101,
  invalid_image = 200,
  invalid_context = 201,
  no_binary_for_gpu = 209,
  ecc_uncorrectable = 214,
  invalid_ptx = 218,
  nvlink_uncorrectable = 220,
  jit_compiler_not_found = 221,
  unsupported_ptx_version = 222,
  jit_compilation_disabled = 223,
  invalid_handle = 400,
  not_found = 500,
  not_ready = 600,
  illegal_address = 700,
  launch_out_of_resources = 701,
  launch_timeout = 702,
  context_is_destroyed = 709,
  device_assert = 710,
  host_memory_already_registered = 712,
  hardware_stack_error = 714,
  illegal_instruction = 715,
  misaligned_address = 716,
  invalid_address_space = 717,
  invalid_pc = 718,
  launch_failed = 719,
  not_supported = 801,
  system_driver_mismatch = 803,
  unknown = 999,
};

using CudaDeviceIndex = int;
using CudaAddress = std::uint64_t;
// Handles are pointers to what the driver alone knows.
struct CudaContextObject;
struct CudaModuleObject;
struct CudaFunctionObject;
struct CudaStreamObject;
struct CudaEventObject;
using CudaContext = CudaContextObject*;
using CudaModule = CudaModuleObject*;
using CudaFunction = CudaFunctionObject*;
using CudaStream = CudaStreamObject*;
using CudaEvent = CudaEventObject*;

namespace cuda {
constexpr unsigned kContextBlockingWait = 4;  // a thread that waits sleeps: cores are for computing
constexpr unsigned kContextMapsHostMemory = 8;
constexpr unsigned kStreamNonBlocking = 1;  // apart from the default stream
constexpr unsigned kEventBlockingWait = 1, kEventNoTiming = 2;
constexpr unsigned kHostPortable = 1;  // pinned for all contexts
// And kernels may read it. What the driver allocates they may read in any case; what is registered only so, and in contexts that are made for it.
constexpr unsigned kHostMapped = 2;
constexpr unsigned kMemoryHost = 1, kMemoryDevice = 2;
constexpr int kMultiprocessors = 16, kMapsHostMemory = 19, kPciBus = 33, kPciDevice = 34, kCopyEngines = 40, kUnifiedAddressing = 41,
              kPciDomain = 50, kCapabilityMajor = 75, kCapabilityMinor = 76, kTakesRegisteredAddresses = 91;
constexpr int kJitErrorLog = 5, kJitErrorLogBytes = 6;
}  // namespace cuda

// CUDA_MEMCPY2D of the driver's header, member for member.
struct CudaCopy2d {
  std::size_t from_x_bytes = 0, from_y = 0;
  unsigned from_memory = 0;
  const void* from_host = nullptr;
  CudaAddress from_device = 0;
  void* from_array = nullptr;
  std::size_t from_pitch = 0;
  std::size_t to_x_bytes = 0, to_y = 0;
  unsigned to_memory = 0;
  void* to_host = nullptr;
  CudaAddress to_device = 0;
  void* to_array = nullptr;
  std::size_t to_pitch = 0;
  std::size_t width_bytes = 0, height = 0;
};
static_assert(sizeof(CudaCopy2d) == 128 && offsetof(CudaCopy2d, to_x_bytes) == 56 && offsetof(CudaCopy2d, width_bytes) == 112);

template <class... Arguments>
struct CudaCall {
  const char* name;  // in libcuda
  std::function<CudaResult(Arguments...)> function{};
};

struct CudaDriver {
  CudaCall<unsigned> init{"cuInit"};
  CudaCall<int*> driver_version{"cuDriverGetVersion"};
  CudaCall<CudaResult, const char**> error_name{"cuGetErrorName"};
  CudaCall<CudaResult, const char**> error_text{"cuGetErrorString"};
  CudaCall<int*> device_count{"cuDeviceGetCount"};
  CudaCall<CudaDeviceIndex*, int> device{"cuDeviceGet"};
  CudaCall<char*, int, CudaDeviceIndex> device_name{"cuDeviceGetName"};
  CudaCall<int*, int, CudaDeviceIndex> device_attribute{"cuDeviceGetAttribute"};
  CudaCall<std::size_t*, CudaDeviceIndex> device_memory{"cuDeviceTotalMem_v2"};
  CudaCall<CudaContext*, unsigned, CudaDeviceIndex> context_create{"cuCtxCreate_v2"};
  CudaCall<CudaContext> context_destroy{"cuCtxDestroy_v2"};
  CudaCall<CudaContext> context_set_current{"cuCtxSetCurrent"};
  CudaCall<std::size_t*, std::size_t*> memory_info{"cuMemGetInfo_v2"};
  CudaCall<CudaAddress*, std::size_t> memory_allocate{"cuMemAlloc_v2"};
  CudaCall<CudaAddress> memory_free{"cuMemFree_v2"};
  CudaCall<void**, std::size_t, unsigned> host_allocate{"cuMemHostAlloc"};
  CudaCall<void*> host_free{"cuMemFreeHost"};
  CudaCall<void*, std::size_t, unsigned> host_register{"cuMemHostRegister_v2"};
  CudaCall<void*> host_unregister{"cuMemHostUnregister"};
  CudaCall<CudaAddress, const void*, std::size_t, CudaStream> copy_to_device{"cuMemcpyHtoDAsync_v2"};
  CudaCall<void*, CudaAddress, std::size_t, CudaStream> copy_to_host{"cuMemcpyDtoHAsync_v2"};
  CudaCall<CudaAddress, CudaAddress, std::size_t, CudaStream> copy_on_device{"cuMemcpyDtoDAsync_v2"};
  CudaCall<const CudaCopy2d*, CudaStream> copy_2d{"cuMemcpy2DAsync_v2"};
  CudaCall<CudaStream*, unsigned> stream_create{"cuStreamCreate"};
  CudaCall<CudaStream> stream_destroy{"cuStreamDestroy_v2"};
  CudaCall<CudaStream> stream_synchronize{"cuStreamSynchronize"};
  CudaCall<CudaStream, CudaEvent, unsigned> stream_wait{"cuStreamWaitEvent"};
  CudaCall<CudaEvent*, unsigned> event_create{"cuEventCreate"};
  CudaCall<CudaEvent> event_destroy{"cuEventDestroy_v2"};
  CudaCall<CudaEvent, CudaStream> event_record{"cuEventRecord"};
  CudaCall<CudaEvent> event_query{"cuEventQuery"};
  CudaCall<CudaEvent> event_synchronize{"cuEventSynchronize"};
  CudaCall<float*, CudaEvent, CudaEvent> event_elapsed{"cuEventElapsedTime"};  // milliseconds
  CudaCall<CudaModule*, const void*, unsigned, int*, void**> module_load{"cuModuleLoadDataEx"};
  CudaCall<CudaModule> module_unload{"cuModuleUnload"};
  CudaCall<CudaFunction*, CudaModule, const char*> module_function{"cuModuleGetFunction"};
  CudaCall<CudaFunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CudaStream, void**, void**> launch{
      "cuLaunchKernel"};

  static constexpr std::size_t kCalls = 37;
};
static_assert(sizeof(CudaDriver) == CudaDriver::kCalls * sizeof(CudaCall<unsigned>), "for_each_call knows every call");

// visit(call) for each member of the table.
template <class Visit>
void for_each_call(CudaDriver& d, Visit&& visit) {
  const auto all = [&](auto&... calls) {
    static_assert(sizeof...(calls) == CudaDriver::kCalls);
    (visit(calls), ...);
  };
  all(d.init, d.driver_version, d.error_name, d.error_text, d.device_count, d.device, d.device_name, d.device_attribute, d.device_memory,
      d.context_create, d.context_destroy, d.context_set_current, d.memory_info, d.memory_allocate, d.memory_free, d.host_allocate,
      d.host_free, d.host_register, d.host_unregister, d.copy_to_device, d.copy_to_host, d.copy_on_device, d.copy_2d, d.stream_create,
      d.stream_destroy, d.stream_synchronize, d.stream_wait, d.event_create, d.event_destroy, d.event_record, d.event_query,
      d.event_synchronize, d.event_elapsed, d.module_load, d.module_unload, d.module_function, d.launch);
}

// The driver of this machine. Throws Error{device}, one line: no driver here, or one that lacks a function, by name.
// library: for tests.
CudaDriver load_cuda_driver(const std::string& library = "libcuda.so.1");

// "CUDA_ERROR_OUT_OF_MEMORY (out of memory)", in the driver's words where it has any.
std::string cuda_result_text(const CudaDriver& driver, CudaResult result);

// Nothing that was enqueued or will be can be relied on: the context, or the card itself, is gone.
bool is_lost(CudaResult result);

struct CudaCard {
  CudaDeviceIndex index = 0;
  std::string name;
  std::uint64_t memory_bytes = 0;
  int capability_major = 0, capability_minor = 0;
  int multiprocessors = 0, copy_engines = 0;
  bool reads_host_memory = false;                   // kernels read pinned memory where the host has it
  int pci_domain = 0, pci_bus = 0, pci_device = 0;  // the slot that it is in
};

struct CudaCards {
  int driver_version = 0;  // the newest CUDA it speaks: 12040 is 12.4
  std::vector<CudaCard> cards;
};

// "12.4"
std::string cuda_version_text(int version);

// Begins to use the driver and lists the cards that it shows. Throws Error{device}: a driver too old, or that fails, or shows no card. CUDA_VISIBLE_DEVICES hides cards: it is named in the error.
CudaCards list_cuda_cards(const CudaDriver& driver);

// Card number `gpu`, the first where none is asked for; it must be able to run the kernels (capability 6.1). Throws Error{device} that says which there are.
const CudaCard& choose_cuda_card(const CudaCards& cards, int gpu);

}  // namespace leafcutter::offload
