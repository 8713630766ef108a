// The kernels of a device whose memory is host memory: each is the operator of kernels/ for an instruction set, so that an emulated device computes the very bits that the CPU does.
#pragma once

#include "kernels/isa.h"
#include "offload/device_kernels.h"

namespace leafcutter::offload {

// Every address of the arguments is one of this process. Thread-safe for launches that do not touch each other's bytes.
void run_emulated_kernel(DeviceKernel kernel, const void* arguments, kernels::Isa isa);

}  // namespace leafcutter::offload
