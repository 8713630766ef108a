// The kernels that a device has to have: one row of the table, one struct of arguments (kernels/device_launch.h) and one list of what is read and written for each. They compute what the operators of kernels/ of
// the same names do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/device_launch.h"

namespace leafcutter::offload {

using kernels::AddLaunch;
using kernels::AttendLaunch;
using kernels::DeviceAddress;
using kernels::DeviceAttentionRow;
using kernels::DeviceKernel;
using kernels::FetchRowsLaunch;
using kernels::FinishRowsLaunch;
using kernels::GateLaunch;
using kernels::HalveRowsLaunch;
using kernels::kDeviceKernels;
using kernels::ProductLaunch;
using kernels::QuantizeRowsLaunch;
using kernels::RankLaunch;
using kernels::RmsNormLaunch;
using kernels::RotateLaunch;
using kernels::StoreKvLaunch;
using kernels::UnpackStripsLaunch;

// Bytes that a kernel reads or writes: `rows` pieces of row_bytes, a stride apart.
struct DeviceAccess {
  DeviceAddress begin;
  std::uint64_t rows = 1, row_bytes = 0, stride = 0;
  bool write = false;
};

struct DeviceKernelInfo {
  DeviceKernel kernel{};
  const char* name = "";
  std::size_t argument_bytes = 0;
  // Appends all that a launch with these arguments reads and writes. An element that is both is in the list as written.
  void (*accesses)(const void* arguments, std::vector<DeviceAccess>& out) = nullptr;
};
const DeviceKernelInfo& device_kernel(DeviceKernel kernel);

}  // namespace leafcutter::offload
