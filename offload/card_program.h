// A step program with a placement as what the card simulator plays: stages with the card's kernels and the host's share, the copies and the reads. Kernel times come from the card table and the kernel table.
#pragma once

#include "compress/leaf_index.h"
#include "offload/card_simulator.h"
#include "offload/device_plan.h"
#include "offload/step_program.h"

namespace leafcutter::offload {

// The stages of a layer: query, key and value; attention; its output; gate and up; down. The head is one, what lies between two steps (logits down, sampling, rows of the embedding up) the last.
CardStep card_step(const compress::LeafIndex& index, const DevicePlan& plan, const Sides& sides, const StepProgram& program,
                   const Card& card, const CardHost& host);

}  // namespace leafcutter::offload
