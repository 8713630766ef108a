// Runs kernels of a PTX module on the CPU, one block after another, and counts what they would keep busy on a card.
//
// A warp runs until it ends or waits at a barrier. Lanes that a branch sends different ways run one way after the other, and meet again at the first place that all ways lead to, as on cards before Volta. Reported as errors, with line and instruction:
// addresses outside of registered buffers, of shared memory or of the arguments; misaligned ones; writes to read-only buffers; reads by the read-only path (ld.global.nc) of what the launch writes; barriers and
// shuffles that some lanes of a warp do not reach, barriers after threads have left, and kernels without end. Registers and shared memory hold NaNs until they are written.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tests/support/ptx/counters.h"
#include "tests/support/ptx/memory.h"
#include "tests/support/ptx/module.h"

namespace leafcutter::ptx {

struct Launch {
  std::array<std::uint32_t, 3> grid{1, 1, 1};
  std::uint32_t threads = 32;                    // of a block
  std::uint32_t shared_bytes = 0;                // dynamic
  std::vector<std::uint64_t> blocks;             // which of them run, x + grid x * (y + grid y * z); empty: all
  std::uint64_t most_instructions = 1ull << 36;  // of all warps; more than that is taken for a kernel without end
};

struct Outcome {
  Counters counters;
  std::vector<InstructionCounts> by_instruction;  // of kernel.code
};

// arguments: as the driver would get them, all parameters with their alignment. Throws Error, and std::runtime_error for what a card would not launch.
Outcome run(const Module& module, const Kernel& kernel, const Launch& launch, std::span<const std::byte> arguments, GlobalMemory& memory);

}  // namespace leafcutter::ptx
