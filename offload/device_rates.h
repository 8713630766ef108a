// What a device that is there does in a second, measured: what plans for it are chosen by (card_prediction.h), in the place of a row of the card table.
#pragma once

#include <cstddef>
#include <cstdint>

#include "offload/card_prediction.h"
#include "offload/device.h"
#include "offload/prediction.h"

namespace leafcutter::offload {

// How much is moved and computed for it. The defaults take a GTX 1060 about a twentieth of a second.
struct DeviceProbe {
  std::size_t bytes = 16 << 20;  // of device memory and of pinned memory, each about twice
  std::uint64_t rows = 256;      // of products that are to be bound by arithmetic
  int multiprocessors = 1;       // that the device has
};

struct MeasuredDevice {
  double link_bytes_per_s = 0, link_latency_s = 0;  // to the device, from pinned memory
  double weights_bytes_per_s = 0;                   // read by a product of one row, q4
  double int8_ops_per_s = 0, f32_ops_per_s = 0;     // products of many rows, q4 and f16; multiply and add count as two
  double clock_hz = 0;                              // with which the table of kernels (kernel_table.h) says what that product in q4 took
  double launch_s = 0;                              // a kernel behind another one, beyond its work
  std::size_t copy_engines = 2;
  int multiprocessors = 1;
};

// Medians, on the device's clock where it has events that tell the time or a clock of its own, otherwise on the host's. The device must be idle. Throws DeviceError.
MeasuredDevice measure_device_rates(Device& device, const DeviceProbe& probe = {});

// As rows of the tables. Rates that were measured are reached: shares of them are 1. The clock is one that makes the table of kernels right for products of many rows, not one that the device has. Of the host's products the slowest
// counts.
Card card_of(const MeasuredDevice& device);
CardHost card_host_of(const HostRates& host);

}  // namespace leafcutter::offload
