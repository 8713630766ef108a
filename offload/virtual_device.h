// A card that is played: an emulated device (emulated_device.h) does the work as fast as it can, and a discrete-event clock says how long a card of the table would have taken. The executor, the schedule of copies and
// everything else that uses a device is what a card will run with; only the time is not real.
//
// The clock: one copy down and one up at a time (one in all with one engine), one kernel at a time; of what heads its stream and waits for nothing, what came first begins first. Kernels take what card_costs.h says and a
// launch; a copy or fetch that finds its engine idle a latency more. The host's time passes where it waits for the device and where it tells what it did (Device::host_worked). Copies take the host's memory first, the host's
// products what they leave. Reads from disk arrive at the rate of the host's and are checked one after another (virtual_disk.h).
#pragma once

#include <memory>

#include "kernels/isa.h"
#include "offload/card_table.h"
#include "offload/device.h"

namespace leafcutter::offload {

struct VirtualDeviceOptions {
  std::string name = "virtual";
  std::uint64_t memory_bytes = std::uint64_t{1} << 30;
  Card card{};
  CardHost host{};
  kernels::Isa isa = kernels::Isa::portable;
};

std::unique_ptr<Device> make_virtual_device(const VirtualDeviceOptions& options);

}  // namespace leafcutter::offload
