// Placement over three tiers: what stays on the card, what in host memory, what is streamed from disk; and who computes what is not on the card, in a step of one row and in a prompt.
//
// The budget of device memory is spent in this order: the driver's context, a margin, the KV cache layer by layer (layers that do not fit keep theirs in host memory, and the host computes their attention), buffers,
// the ring that copies pass through, residents. That of host memory: the process, a margin, buffers, the KV cache of the other layers, the ring that reads from disk pass through, residents, last the table that embeddings
// are looked up in. Both are hard: a plan keeps to them to the byte or is refused.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "compress/leaf_index.h"
#include "offload/memory_account.h"
#include "offload/planner.h"
#include "offload/step_products.h"

namespace leafcutter::offload {

struct DeviceRequest {
  std::uint64_t device_budget = 0;         // bytes of device memory, the context in it
  std::uint64_t context_bytes = 0;         // the driver's; 0 where it is not charged
  std::vector<BufferNeed> device_buffers;  // workspace, logits, norms and biases on the card
  std::vector<std::uint64_t> kv_bytes;     // of each layer; 0 where it has no attention
  PlanRequest host;                        // its buffers: all of the host's that are not weights and not KV
};

// How what stays on the card is chosen. even: of every module nearly the same share, so that copies and kernels interleave. last_layers: whole layers from the end of the step, as many as fit with their KV; the host
// computes the others.
enum class Residents { even, last_layers };

// Who computes the chunks that are not on the card: of each the first `host_strips` strips (16 rows each, in the order of its blob) the host, the others of product_bytes the card, to which they are copied. 0 for chunks on the card.
struct Sides {
  std::vector<std::uint32_t> host_strips;  // per chunk of the index
};

// Chunks of chunks_of_step with rows that are multiplied: a tied head's module also holds tables that are only looked up.
std::vector<std::uint32_t> chunks_of_products(const compress::LeafIndex& index);

// Of a chunk, the bytes of rows that are multiplied: all but of a tied head's last one, which ends with rows of such tables.
std::uint64_t product_bytes(const compress::LeafIndex& index, const compress::ChunkEntry& chunk);

// A pass of so many rows is a prompt's: its products cost arithmetic, those of fewer rows moving the weights.
constexpr std::size_t kRowsOfPrefill = 16;

struct DevicePlan {
  std::vector<Tier> residence;     // per chunk of the index; chunks that hold no product count as on disk
  Sides decode, prefill;           // of passes of fewer than kRowsOfPrefill rows; of others
  std::vector<bool> kv_on_device;  // per layer; false: its attention is the host's
  bool table_in_memory = false;    // rows of the embedding are looked up in host memory, otherwise on disk

  // device tier
  std::uint64_t device_budget = 0, context_bytes = 0, device_margin = 0, device_kv_bytes = 0, device_buffer_bytes = 0;
  std::uint64_t device_ring_bytes = 0;  // 0: nothing is copied while the model runs
  std::uint64_t device_resident_bytes = 0;
  std::uint64_t device_total = 0;  // predicted peak, <= device_budget

  // host tier
  std::uint64_t host_budget = 0, host_fixed_bytes = 0, host_kv_bytes = 0, host_buffer_bytes = 0;  // staging of coded chunks is a buffer
  std::uint64_t host_ring_bytes = 0;                                                              // 0: nothing is read while the model runs
  std::uint64_t host_resident_bytes = 0;
  std::uint64_t table_bytes = 0;  // of the table, beside what of it is resident in host memory anyway
  std::uint64_t page_table_bytes = 0;
  std::uint64_t host_total = 0;  // predicted peak, <= host_budget

  // disk tier
  std::uint64_t streamed_bytes = 0;  // stored bytes that each step reads

  // What the ring of a card and copies from host memory need to be pinned: the ring of reads and the residents of host memory.
  std::uint64_t pinned_bytes() const { return host_ring_bytes + host_resident_bytes; }
};

// with_ring: chunks can be copied to the card while the model runs; without, what is not there is the host's. Sides: all is copied where there is a ring, all is the host's where there is none; with_host_share makes
// others. held_back, for even residents: of each product this share, 0 to 1, does not stay on the card even where there is room; where there is not room for all of the rest, the rest of each product stays in the same
// proportion. Throws Error(out_of_budget): need, have, for what, which flag. Deterministic.
DevicePlan place(const compress::LeafIndex& index, const DeviceRequest& request, Residents residents, bool with_ring,
                 const PerProduct& held_back = {});

// The host computes this share, 0 to 1, of every chunk that is not on the card, in whole strips; one share for all products, or one for each.
Sides with_host_share(const compress::LeafIndex& index, const DevicePlan& plan, double share);
Sides with_host_share(const compress::LeafIndex& index, const DevicePlan& plan, const PerProduct& share);

// Bytes of a chunk's first strips.
std::uint64_t bytes_of_first_strips(const compress::LeafIndex& index, const compress::ChunkEntry& chunk, std::uint32_t strips);

}  // namespace leafcutter::offload
