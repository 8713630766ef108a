#include "tests/support/ptx/counters.h"

namespace leafcutter::ptx {

Counters counters_of(const Kernel& kernel, const std::vector<InstructionCounts>& counts) {
  Counters sum;
  for (std::size_t i = 0; i < kernel.code.size(); i++) {
    const Instruction& instruction = kernel.code[i];
    const InstructionCounts& count = counts[i];
    sum.warp_instructions += count.executed;
    sum.thread_instructions += count.lanes;
    sum.divergent += count.divergent;
    sum.issue_slots += count.executed * instruction.issue_slots;
    sum.unit_slots[static_cast<std::size_t>(instruction.unit)] += count.executed * instruction.unit_slots;
    sum.load_store_passes += count.passes;
    sum.bank_conflicts += count.conflicts;
    if (instruction.unit != Unit::memory) continue;
    if (instruction.space == Space::shared) sum.shared_requests += count.executed;
    if (instruction.space == Space::local) sum.local_requests += count.executed;
    if (instruction.space != Space::global && instruction.space != Space::generic) continue;
    MemoryCounts& memory = instruction.kind == Kind::load ? sum.global_loads : sum.global_stores;
    memory.requests += count.executed;
    memory.sectors += count.sectors;
    memory.excess_sectors += count.excess_sectors;
  }
  return sum;
}

}  // namespace leafcutter::ptx
