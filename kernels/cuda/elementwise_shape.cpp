#include "kernels/cuda/elementwise_shape.h"

#include "kernels/cuda/launch_family.h"

namespace leafcutter::gpu {
namespace {

constexpr const char* kAdd[] = {"lc_add"};
constexpr const char* kGate[] = {"lc_gate_silu", "lc_gate_gelu_erf", "lc_gate_gelu_tanh"};  // in the order of Gate

LaunchShape elementwise(const char* function, std::uint64_t n) {
  return {function, {grid_for(function, n, kElementwiseThreads), 1, 1}, kElementwiseThreads, 0};
}

LaunchShape add_shape(const kernels::AddLaunch& a) { return elementwise(kAdd[0], a.n); }
LaunchShape gate_shape(const kernels::GateLaunch& a) { return elementwise(kGate[static_cast<std::size_t>(a.gate)], a.n); }

}  // namespace

constinit const LaunchFamily kAddFamily = launch_family<kernels::AddLaunch, add_shape>(kAdd);
constinit const LaunchFamily kGateFamily = launch_family<kernels::GateLaunch, gate_shape>(kGate);

}  // namespace leafcutter::gpu
