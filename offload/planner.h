// Placement: what stays in host memory, what is streamed, and whether it fits at all.
//
// The budget is spent in this order: what the process has already, a margin, the KV cache and workspace (all from the step program), the ring, residents. Residents are spread evenly
// over the chunks in order of execution, so that reads and compute interleave. All sums stop at 2^64 - 1 instead of running over.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "compress/leaf_index.h"
#include "offload/step_program.h"

namespace leafcutter::offload {

struct PlanRequest {
  std::optional<std::uint64_t> budget;  // bytes of --memory; none: `available` bounds the plan
  std::uint64_t available = 0;          // HostMemory::available
  std::uint64_t already_charged = 0;    // charged_bytes() when everything but arenas is there (tokenizer, index, code)
  bool holds_modules = false;       // all streamed chunks of a module are held at once: several blocks of rows go through it in one pass
  std::vector<BufferNeed> buffers;  // KV cache, workspace, logits: all that is not weights
};

struct Plan {
  std::vector<bool>
      resident;  // per chunk of the index; streamed otherwise. Chunks of an embedding that is not the head are never streamed: where they are not resident rows are read on demand
  std::vector<std::uint32_t> streamed;  // chunks in order of execution
  std::uint64_t ring_bytes = 0;         // 0 when everything is resident
  std::uint64_t resident_bytes = 0;     // raw bytes held
  std::uint64_t streamed_bytes = 0;     // stored bytes read in each step
  std::uint64_t fixed_bytes = 0;        // process + margin
  std::vector<BufferNeed> buffers;      // copied from the request
  std::uint64_t budget = 0;             // what was planned against
  std::uint64_t total = 0;              // predicted peak, <= budget
};

// Throws Error(out_of_budget): need, have, for what, which flag. Deterministic.
Plan make_plan(const compress::LeafIndex& index, const PlanRequest& request);

// The least budget with which make_plan would succeed for this request, to the byte, on a machine with enough available.
std::uint64_t least_budget(const compress::LeafIndex& index, const PlanRequest& request);

// The chunks that a step visits, in order of execution: layers, then the head (which may be the embedding). Embeddings that are no head are read by the row, the `vectors` module is a buffer.
std::vector<std::uint32_t> chunks_of_step(const compress::LeafIndex& index);

// Memory where coded chunks are read to before they are decoded; 0 when no visited chunk has a codec. The pager allocates it, the plan counts it.
constexpr std::size_t kStagingSlots = 4;
std::uint64_t staging_bytes(const compress::LeafIndex& index);

// The least ring that any of these chunks can be streamed through: two neighbours held, a third being read, a gap of less than a chunk at the end.
std::uint64_t least_ring_bytes(const compress::LeafIndex& index, const std::vector<std::uint32_t>& chunks);

}  // namespace leafcutter::offload
