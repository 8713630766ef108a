// A device that is not there: its memory is host memory under a cap, its kernels are the CPU's, its processor and its copy engines are real threads. For running, with the same answers as the CPU, what a card will run,
// and for finding races, leaks and unhandled failures without one.
//
// Memory is poisoned (NaN for floats) when it is allocated and before it is freed. Copies from and to the host go through one engine or two, at most as fast as the link; memory that is not pinned halves its rate and
// makes the call wait. What is fetched comes beside the copies, as from a kernel that reads pinned memory. Kernels run one at a time, as long as the CPU takes for them: this is no clock for predictions. They keep a core
// of the machine busy that a card would leave to the host; what shares the work between them is to leave it out (DeviceProperties::host_cores).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "kernels/isa.h"
#include "offload/device.h"

namespace leafcutter::offload {

// Calls that may be made to fail, each counted from 0 on.
enum class EmulatedCall : std::uint8_t { allocate, pin, copy, launch, wait };
constexpr std::size_t kEmulatedCalls = 5;
enum class EmulatedFault : std::uint8_t {
  none,
  refuse,  // the call does nothing and says so: out of memory, not pinned, copy or launch failed. A wait is not refused
  later,   // a copy or a launch is taken and fails when it runs
  lose     // the device is lost from here on
};

struct EmulatedDeviceOptions {
  std::string name = "emulated";
  std::uint64_t memory_bytes = std::uint64_t{1} << 30;
  std::size_t copy_engines = 2;
  std::optional<double> link_bytes_per_s;  // none: as fast as memory is
  kernels::Isa isa = kernels::Isa::portable;
  std::function<EmulatedFault(EmulatedCall call, std::uint64_t index)> faults;  // asked at each call; empty: none
};

std::unique_ptr<Device> make_emulated_device(EmulatedDeviceOptions options);

}  // namespace leafcutter::offload
