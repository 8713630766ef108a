// One step as a list: which modules are visited, how much they compute and what they need. Made by the runtime with the same code that runs the step; the planner works on nothing else.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/kv_type.h"

namespace leafcutter::offload {

struct StepModule {
  std::uint32_t module = 0;                   // index into LeafIndex::modules
  std::uint64_t rows = 0;                     // that go through its products
  std::uint64_t attention_operations = 0;     // multiply and add count as two, for all rows
  std::uint64_t kv_bytes = 0;                 // keys and values read
  std::uint64_t most_keys = 0, all_keys = 0;  // that are seen by the row which sees the most; by all rows, added up
  std::uint64_t row_bytes = 0;                // moved by what works row by row: norms, activations, sums, quantizing
  std::uint64_t heads_a_key = 1;              // query heads that share a KV head
};

struct BufferNeed {
  std::string name;
  std::uint64_t bytes = 0;
};

struct StepProgram {
  std::uint64_t rows = 0;
  kernels::KvType kv_type = kernels::KvType::f16;
  std::uint64_t block_rows =
      0;  // that go through a module at a time, all of a module's chunks held until the last block is through; 0: all rows at once
  std::vector<StepModule> modules;  // in order of execution; the head only when logits are wanted
  std::uint64_t best_a_row = 0;     // of each row that wants logits so many of the largest are handed out; 0: all of them
  std::vector<BufferNeed> buffers;  // workspace of the step, by name
};

}  // namespace leafcutter::offload
