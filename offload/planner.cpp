#include "offload/planner.h"

#include <algorithm>
#include <map>

#include "base/checked.h"
#include "base/error.h"
#include "base/size_text.h"

namespace leafcutter::offload {
namespace {

using compress::ChunkEntry;
using compress::LeafIndex;
using compress::ModuleKind;

// What is not there yet when the plan is made: pages of code and libraries not touched so far, growth of the heap, stacks of the threads.
constexpr std::uint64_t kMargin = std::uint64_t{5} << 20;
// Page tables of arenas that get no huge pages: 8 bytes for 4096, rounded up generously.
constexpr std::uint64_t kArenaPerPageTable = 400;
// Reads in flight that disks want (docs/benchmarks.md), and the share of what is left for weights that they may take.
constexpr std::uint64_t kRingWish = std::uint64_t{36} << 20;
constexpr std::uint64_t kRingShare = 4;  // a quarter
// Where no budget is given: leave this much to the rest of the machine.
constexpr std::uint64_t kOthers = std::uint64_t{256} << 20;

// Arena bytes of a chunk: whole pages, since direct reads fill whole pages.
std::uint64_t slot_bytes(const ChunkEntry& chunk) { return round_up(std::max(chunk.raw_bytes, chunk.stored_bytes), compress::kPage); }

// Chunks that a step visits, in order of execution.
std::vector<std::uint32_t> visited_chunks(const LeafIndex& index) {
  std::vector<std::uint32_t> chunks;
  const auto add = [&](bool head) {
    for (const compress::ModuleEntry& m : index.modules) {
      const bool is_head = m.kind == ModuleKind::head || (m.kind == ModuleKind::embedding && index.model.tied_head);
      const bool is_layer = m.kind == ModuleKind::attention || m.kind == ModuleKind::feed_forward;
      if (head ? !is_head : !is_layer) continue;
      for (std::uint32_t c = m.first_chunk; c < m.first_chunk + m.chunk_count; c++) chunks.push_back(c);
    }
  };
  add(false);
  add(true);
  return chunks;
}

struct Needs {
  std::vector<std::uint32_t> visited;
  std::uint64_t fixed = 0;  // process, margin
  std::uint64_t buffers = 0;
  std::uint64_t all_weights = 0;
  std::uint64_t least_ring = 0;

  Needs(const LeafIndex& index, const PlanRequest& request) : visited(visited_chunks(index)) {
    fixed = request.already_charged + kMargin;
    buffers = staging_bytes(index);
    for (const BufferNeed& buffer : request.buffers) buffers += buffer.bytes;
    std::uint64_t largest = 0;
    for (const std::uint32_t c : visited) {
      all_weights += slot_bytes(index.chunks[c]);
      largest = std::max(largest, slot_bytes(index.chunks[c]));
    }
    // Two chunks are held at once at a border between tensors, a third is being read. A ring has a gap at its end of less than a chunk.
    least_ring = std::min(all_weights, 4 * largest);
  }

  static std::uint64_t with_tables(std::uint64_t arena) { return arena + arena / kArenaPerPageTable; }
  std::uint64_t everything() const { return fixed + with_tables(buffers + all_weights); }
  std::uint64_t least() const { return fixed + with_tables(buffers + least_ring); }
};

[[noreturn]] void refuse(const Needs& needs, const PlanRequest& request, std::uint64_t budget) {
  std::string what = "process and margin " + format_bytes(needs.fixed);
  std::vector<BufferNeed> largest = request.buffers;
  std::sort(largest.begin(), largest.end(), [](const BufferNeed& a, const BufferNeed& b) { return a.bytes > b.bytes; });
  largest.resize(std::min<std::size_t>(largest.size(), 3));
  for (const BufferNeed& buffer : largest) what += ", " + buffer.name + " " + format_bytes(buffer.bytes);
  what += ", ring for streaming " + format_bytes(needs.least_ring);
  throw Error(ErrorKind::out_of_budget, "memory", "need " + format_bytes(needs.least()) + " (" + what + "), have " + format_bytes(budget),
              request.budget ? "raise --memory or lower --ctx-size" : "free some memory or lower --ctx-size");
}

// Residents spread evenly in order of execution: of each stretch of the step the same share stays, so that reads and compute interleave.
void choose_residents(const LeafIndex& index, const std::vector<std::uint32_t>& visited, std::uint64_t room, Plan& plan) {
  std::uint64_t total = 0, passed = 0;
  for (const std::uint32_t c : visited) total += slot_bytes(index.chunks[c]);
  const long double share = total > 0 ? static_cast<long double>(room) / static_cast<long double>(total) : 0;
  for (const std::uint32_t c : visited) {
    const std::uint64_t bytes = slot_bytes(index.chunks[c]);
    passed += bytes;
    if (plan.resident_bytes + bytes <= static_cast<std::uint64_t>(share * static_cast<long double>(passed)) &&
        plan.resident_bytes + bytes <= room) {
      plan.resident[c] = true;
      plan.resident_bytes += bytes;
    }
  }
  // What rounding left is filled from the end, largest fit first come.
  for (auto c = visited.rbegin(); c != visited.rend(); ++c)
    if (const std::uint64_t bytes = slot_bytes(index.chunks[*c]); !plan.resident[*c] && plan.resident_bytes + bytes <= room) {
      plan.resident[*c] = true;
      plan.resident_bytes += bytes;
    }
}

}  // namespace

std::uint64_t staging_bytes(const LeafIndex& index) {
  std::uint64_t largest = 0;
  for (const std::uint32_t c : visited_chunks(index))
    if (index.chunks[c].codec != compress::Codec::none)
      largest = std::max(largest, round_up(index.chunks[c].stored_bytes, compress::kPage));
  return kStagingSlots * largest;
}

std::uint64_t least_budget(const LeafIndex& index, const PlanRequest& request) {
  const Needs needs(index, request);
  return std::min(needs.least(), needs.everything());
}

Plan make_plan(const LeafIndex& index, const PlanRequest& request) {
  const Needs needs(index, request);
  const std::uint64_t machine = request.available + request.already_charged;
  const std::uint64_t budget =
      request.budget ? std::min(*request.budget, machine) : machine - std::min(machine, std::min(kOthers, machine / 16));
  if (budget < least_budget(index, request)) refuse(needs, request, budget);

  Plan plan;
  plan.resident.assign(index.chunks.size(), false);
  plan.fixed_bytes = needs.fixed;
  plan.buffers = request.buffers;
  plan.budget = budget;
  if (budget >= needs.everything()) {
    for (const std::uint32_t c : needs.visited) {
      plan.resident[c] = true;
      plan.resident_bytes += slot_bytes(index.chunks[c]);
    }
    plan.total = needs.everything();
    return plan;
  }
  // least() fits, so that room >= least_ring; the division undoes with_tables.
  const std::uint64_t arenas = (budget - needs.fixed) - (budget - needs.fixed) / (kArenaPerPageTable + 1) - 1;
  const std::uint64_t room = arenas - std::min(arenas, needs.buffers);
  plan.ring_bytes = std::max(needs.least_ring, std::min(kRingWish, room / kRingShare / compress::kPage * compress::kPage));
  plan.ring_bytes = std::min(plan.ring_bytes, std::max(needs.least_ring, room));
  choose_residents(index, needs.visited, room - std::min(room, plan.ring_bytes), plan);
  for (const std::uint32_t c : needs.visited)
    if (!plan.resident[c]) {
      plan.streamed.push_back(c);
      plan.streamed_bytes += round_up(index.chunks[c].stored_bytes, compress::kPage);
    }
  plan.total = std::min(budget, needs.fixed + Needs::with_tables(needs.buffers + plan.ring_bytes + plan.resident_bytes));
  return plan;
}

}  // namespace leafcutter::offload
