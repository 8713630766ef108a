#include "offload/cublas.h"

#include <dlfcn.h>

#include "base/error.h"

namespace leafcutter::offload {
namespace {

template <class Function>
Function look_up(void* library, const char* function, const std::string& name) {
  void* const found = dlsym(library, function);
  if (!found)
    throw Error(ErrorKind::device, name, std::string("has no ") + function + ": it is no cuBLAS 12",
                "install cuBLAS 12, or use --cublas off");
  return reinterpret_cast<Function>(found);
}

template <class... Arguments>
void look_up(CublasCall<Arguments...>& call, void* library, const std::string& name) {
  call.function = look_up<CublasStatus (*)(Arguments...)>(library, call.name, name);
}

}  // namespace

CublasLibrary load_cublas(const std::string& library) {
  void* const handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);  // never closed: it registers code with the driver
  if (!handle)
    throw Error(ErrorKind::device, "--cublas", "no cuBLAS 12 here (" + library + " cannot be loaded)",
                "put the folder of libcublas.so.12 and libcublasLt.so.12 into LD_LIBRARY_PATH, or use --cublas off");
  CublasLibrary found;
  for_each_call(found, [&](auto& call) { look_up(call, handle, library); });
  found.status_name = look_up<const char* (*)(CublasStatus)>(handle, "cublasGetStatusName", library);
  found.status_text = look_up<const char* (*)(CublasStatus)>(handle, "cublasGetStatusString", library);
  return found;
}

std::string cublas_status_text(const CublasLibrary& library, CublasStatus status) {
  const char* const name = library.status_name(status);
  const char* const text = library.status_text(status);
  return (name ? std::string(name) : "status " + std::to_string(static_cast<int>(status))) + (text ? std::string(" (") + text + ")" : "");
}

std::string cublas_version_text(int version) {
  return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." + std::to_string(version % 100);
}

}  // namespace leafcutter::offload
