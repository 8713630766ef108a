#include "offload/prediction.h"

#include <algorithm>
#include <cmath>

namespace leafcutter::offload {
namespace {

// Above this many chunks' worth of work a step's parts overlap well enough to count the slowest resource alone (measured: docs/benchmarks.md).
struct StepTime {
  double disk = 0, memory = 0, compute = 0;
  double seconds() const { return std::max({disk, memory, compute}); }
};

StepTime step_time(const compress::LeafIndex& index, const Plan& plan, const StepProgram& program, const HostRates& rates) {
  double weight_bytes = 0, kv_bytes = 0, operations = 0;
  for (const StepModule& m : program.modules) {
    weight_bytes += static_cast<double>(index.modules.at(m.module).bytes);
    kv_bytes += static_cast<double>(m.kv_bytes);
    operations +=
        static_cast<double>(m.int8_operations) + 4 * static_cast<double>(m.f32_operations);  // f32 runs at about a quarter of int8's rate
  }
  StepTime time;
  time.disk = static_cast<double>(plan.streamed_bytes) / (rates.disk_gb_s * 1e9);
  time.memory = (weight_bytes + kv_bytes) / (rates.memory_gb_s * 1e9);
  time.compute = operations / (rates.int8_gop_s * 1e9);
  return time;
}

}  // namespace

Prediction predict(const compress::LeafIndex& index, const Plan& plan, const StepProgram& decode, const StepProgram& prefill,
                   std::uint64_t prompt_rows, const HostRates& rates) {
  const StepTime one = step_time(index, plan, decode, rates);
  const StepTime block = step_time(index, plan, prefill, rates);
  const double blocks = prefill.rows > 0 ? std::ceil(static_cast<double>(prompt_rows) / static_cast<double>(prefill.rows)) : 0;
  Prediction prediction;
  prediction.tokens_per_s = 1 / std::max(one.seconds(), 1e-9);
  prediction.first_token_s = static_cast<double>(plan.resident_bytes) / (rates.disk_gb_s * 1e9) + blocks * block.seconds();
  prediction.limit = one.disk >= one.memory && one.disk >= one.compute ? "disk" : one.memory >= one.compute ? "memory" : "compute";
  return prediction;
}

}  // namespace leafcutter::offload
