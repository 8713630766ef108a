// The step program of a model: what a step of R rows moves and computes, module by module, in the order of StepRunner.
#pragma once

#include "compress/leaf_index.h"
#include "kernels/kv_rows.h"
#include "offload/step_program.h"

namespace leafcutter::runtime {

// rows at the end of a context of `positions`; logit_rows of them want logits. buffers: everything but weights and tokenizer.
offload::StepProgram step_program(const compress::LeafIndex& index, std::uint64_t rows, std::uint64_t positions, std::uint64_t logit_rows,
                                  kernels::KvType kv_type);

}  // namespace leafcutter::runtime
