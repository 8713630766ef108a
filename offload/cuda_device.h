// An NVIDIA card as a Device: a thin translation into the driver's calls. Streams, events, copies and memory are the driver's; kernels are those of kernels/cuda, compiled into this program, launched in the shapes of
// kernels/cuda/launch_shape.h with their arguments as one struct by value.
//
// Every driver call goes through one wrapper, whose error names the call, what it was for and what to do. What the driver says of a broken context or card makes the device lost.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "base/size_text.h"
#include "offload/cublas.h"
#include "offload/cuda_driver.h"
#include "offload/device.h"

namespace leafcutter::offload {

// Compiled kernels. Empty: there are none of the kind.
struct CudaCode {
  std::string_view ptx;              // a zero byte follows
  std::span<const std::byte> cubin;  // for capability 6.1; a driver that does not take it is given the PTX
};
CudaCode embedded_cuda_code();

struct CudaDeviceOptions {
  int gpu = 0;  // of the cards that the driver shows, in its order
  std::optional<SizeText>
      memory;  // all that the process may take of the card, context and code included; shares are of what is free. None: what is free
  CudaCode code = embedded_cuda_code();
  std::optional<CublasLibrary> cublas;  // what products go through that it takes (cublas_products.h), once use_cublas says so
};

// What making the device took of the card: free memory before and after, measured with another context that is there from before until after.
struct CudaOverhead {
  std::uint64_t context_bytes = 0, code_bytes = 0;
  std::uint64_t cublas_bytes = 0;  // its own, and the workspace
};

class CudaDevice : public Device {
 public:
  virtual const CudaCard& card() const = 0;
  virtual int driver_version() const = 0;
  virtual const CudaOverhead& overhead() const = 0;
  virtual bool runs_cubin() const = 0;  // otherwise the driver has compiled the PTX

  virtual int cublas_version() const = 0;  // 0: the device was made without
  virtual void use_cublas(bool use) = 0;   // from the next launch on; where there is none it changes nothing. At first: yes
};

// Throws Error{device} when there is no card that can be used, DeviceError when the driver refuses something, out_of_memory when the memory that may be taken does not hold the context.
// properties().memory_bytes is what is left of it for allocations.
std::unique_ptr<CudaDevice> make_cuda_device(const CudaDriver& driver, const CudaDeviceOptions& options);

}  // namespace leafcutter::offload
