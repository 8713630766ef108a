// Which NVIDIA card a command computes on, if any.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/size_text.h"
#include "offload/cuda_device.h"

namespace leafcutter::tools {

struct CudaChoice {
  std::optional<SizeText> memory;  // --device-memory
  int gpu = 0;                     // --gpu
};

// Throws Error{device} that says in one line why there is none.
std::unique_ptr<offload::CudaDevice> open_cuda_device(const CudaChoice& choice);

// "GeForce GTX 1060 3GB, compute capability 6.1, 3.00 GiB": of every card that the driver shows. Throws as above.
offload::CudaCards installed_cuda_cards();
std::string card_text(const offload::CudaCard& card);

}  // namespace leafcutter::tools
