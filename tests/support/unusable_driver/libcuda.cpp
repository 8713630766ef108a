// A driver that is there but of no use: what the program itself finds as libcuda.so.1 where LD_LIBRARY_PATH says so. FAKE_DRIVER says what is wrong with it: "old" (CUDA 8), "broken" (cuInit fails), "stub" (as the toolkit's),
// "empty" (no card), "lost" (cards cannot be asked), "old card" (capability 5.2). Functions that are not reached refuse.
#include <cstddef>
#include <cstdlib>
#include <cstring>

namespace {

enum Result { success = 0, not_initialised = 3, stub_library = 34, no_device = 100, ecc_uncorrectable = 214, unknown = 999 };

bool is(const char* fault) {
  const char* const wanted = std::getenv("FAKE_DRIVER");
  return wanted && std::strcmp(wanted, fault) == 0;
}

}  // namespace

#define REFUSES(name) \
  int name() { return not_initialised; }

extern "C" {
int cuInit(unsigned) { return is("broken") ? unknown : is("stub") ? stub_library : is("empty") ? no_device : success; }
int cuDriverGetVersion(int* version) { return *version = is("old") ? 8000 : 12040, success; }
int cuGetErrorName(int result, const char** name) {
  *name = result == unknown ? "CUDA_ERROR_UNKNOWN" : result == stub_library ? "CUDA_ERROR_STUB_LIBRARY" : "CUDA_ERROR_ECC_UNCORRECTABLE";
  return success;
}
int cuGetErrorString(int, const char** text) { return *text = "in the driver's words", success; }
int cuDeviceGetCount(int* count) { return *count = 1, success; }
int cuDeviceGet(int* device, int ordinal) { return *device = ordinal, success; }
int cuDeviceGetName(char* name, int bytes, int) { return std::strncpy(name, "GeForce GTX 980", static_cast<std::size_t>(bytes)), success; }
int cuDeviceGetAttribute(int* value, int attribute, int) {
  constexpr int kCapabilityMajor = 75;
  return *value = attribute == kCapabilityMajor ? 5 : 2, success;
}
int cuDeviceTotalMem_v2(std::size_t* bytes, int) { return *bytes = std::size_t{4} << 30, is("lost") ? ecc_uncorrectable : success; }
REFUSES(cuCtxCreate_v2)
REFUSES(cuCtxDestroy_v2)
REFUSES(cuCtxSetCurrent)
REFUSES(cuMemGetInfo_v2)
REFUSES(cuMemAlloc_v2)
REFUSES(cuMemFree_v2)
REFUSES(cuMemHostAlloc)
REFUSES(cuMemFreeHost)
REFUSES(cuMemHostRegister_v2)
REFUSES(cuMemHostUnregister)
REFUSES(cuMemcpyHtoDAsync_v2)
REFUSES(cuMemcpyDtoHAsync_v2)
REFUSES(cuMemcpyDtoDAsync_v2)
REFUSES(cuMemcpy2DAsync_v2)
REFUSES(cuStreamCreate)
REFUSES(cuStreamDestroy_v2)
REFUSES(cuStreamSynchronize)
REFUSES(cuStreamWaitEvent)
REFUSES(cuEventCreate)
REFUSES(cuEventDestroy_v2)
REFUSES(cuEventRecord)
REFUSES(cuEventQuery)
REFUSES(cuEventSynchronize)
REFUSES(cuEventElapsedTime)
REFUSES(cuModuleLoadDataEx)
REFUSES(cuModuleUnload)
REFUSES(cuModuleGetFunction)
REFUSES(cuLaunchKernel)
}
