// Which NVIDIA card a command computes on, if any, and whether products go through cuBLAS there.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/size_text.h"
#include "offload/cuda_device.h"

namespace leafcutter::tools {

enum class CublasWish : std::uint8_t {
  off,
  on,            // or an error
  where_faster,  // where `selftest` found it right and faster on this card, with this driver and this cuBLAS
  where_present  // for `selftest`, which compares
};

struct CudaChoice {
  std::optional<SizeText> memory;  // --device-memory
  int gpu = 0;                     // --gpu
  CublasWish cublas = CublasWish::off;
};

using AddNote = std::function<void(const std::string&)>;

// What the libraries of this machine are looked up with. Tests have others.
struct CudaLibraries {
  std::function<offload::CudaDriver()> driver = [] { return offload::load_cuda_driver(); };
  std::function<offload::CublasLibrary()> cublas = [] { return offload::load_cublas(); };
};

// Throws Error{device} that says in one line why there is none. note: why cuBLAS is used or, where it was asked for, is not.
std::unique_ptr<offload::CudaDevice> open_cuda_device(const CudaChoice& choice, const AddNote& note, const CudaLibraries& libraries = {},
                                                      const offload::CudaCode& code = offload::embedded_cuda_code());

// "GeForce GTX 1060 3GB, compute capability 6.1, 3.00 GiB": of every card that the driver shows. Throws as above.
offload::CudaCards installed_cuda_cards();
std::string card_text(const offload::CudaCard& card);

}  // namespace leafcutter::tools
