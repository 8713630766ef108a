#include "offload/planner.h"

#include <algorithm>
#include <string>

#include "base/error.h"
#include "base/size_text.h"
#include "offload/arena_budget.h"
#include "offload/chunk_sizes.h"
#include "offload/even_spread.h"

namespace leafcutter::offload {
namespace {

using compress::LeafIndex;
using compress::ModuleKind;

constexpr int kRingRounds = 4;  // of fitting ring and residents to each other
// Where no budget is given: leave this much to the rest of the machine, or a sixteenth if that is less.
constexpr std::uint64_t kOthers = std::uint64_t{256} << 20;

// The largest part of one module that is streamed; heads are used once by all rows and never held.
template <class IsStreamed>
std::uint64_t largest_streamed_part(const LeafIndex& index, IsStreamed&& is_streamed) {
  std::uint64_t largest = 0;
  for (const compress::ModuleEntry& m : index.modules) {
    if (m.kind != ModuleKind::attention && m.kind != ModuleKind::feed_forward) continue;
    std::uint64_t bytes = 0;
    for (std::uint32_t c = m.first_chunk; c < m.first_chunk + m.chunk_count; c++)
      if (is_streamed(c)) bytes += slot_bytes(index.chunks[c]);
    largest = std::max(largest, bytes);
  }
  return largest;
}

struct Needs {
  std::vector<std::uint32_t> chunks;
  std::uint64_t fixed = 0;  // process and margin
  std::uint64_t staging = 0;
  std::uint64_t buffers = 0;  // of the request, and staging
  std::uint64_t all_weights = 0;
  std::uint64_t least_ring = 0;
  std::uint64_t held = 0;  // of the ring: the largest module, when its chunks are held together

  Needs(const LeafIndex& index, const PlanRequest& request)
      : chunks(chunks_of_step(index)),
        fixed(saturating_sum(request.already_charged, kProcessMargin)),
        staging(staging_bytes(index)),
        buffers(staging),
        all_weights(slots_of(index, chunks)),
        least_ring(least_ring_bytes(index, chunks)) {
    if (request.holds_modules) {
      held = largest_streamed_part(index, [](std::uint32_t) { return true; });
      least_ring = std::min(all_weights, least_ring + held);
    }
    for (const BufferNeed& buffer : request.buffers) buffers = saturating_sum(buffers, buffer.bytes);
  }

  std::uint64_t with_weights(std::uint64_t bytes) const { return saturating_sum(fixed, with_tables(saturating_sum(buffers, bytes))); }
  std::uint64_t everything() const { return with_weights(all_weights); }
  std::uint64_t least() const { return with_weights(least_ring); }
};

[[noreturn]] void refuse(const Needs& needs, const PlanRequest& request, std::uint64_t budget) {
  constexpr std::size_t kNamed = 3;
  std::vector<BufferNeed> items = request.buffers;
  if (needs.staging > 0) items.push_back({"staging of coded chunks", needs.staging});
  std::stable_sort(items.begin(), items.end(), [](const BufferNeed& a, const BufferNeed& b) { return a.bytes > b.bytes; });
  std::string what = "process and margin " + format_bytes(needs.fixed);
  for (std::size_t i = 0; i < std::min(kNamed, items.size()); i++) what += ", " + items[i].name + " " + format_bytes(items[i].bytes);
  what += ", ring for streaming " + format_bytes(needs.least_ring);
  if (needs.held > 0) what += " that holds a module for all blocks of a prompt";
  const bool by_flag = request.budget && *request.budget == budget;
  throw Error(
      ErrorKind::out_of_budget, "memory",
      "need " + format_bytes(needs.least()) + " (" + what + "), have " + format_bytes(budget) +
          (request.budget && !by_flag ? " of the " + format_bytes(*request.budget) + " asked for" : ""),
      by_flag ? "raise --memory to " + std::to_string(needs.least()) + " or lower --ctx-size" : "free some memory or lower --ctx-size");
}

void choose_residents(const LeafIndex& index, const Needs& needs, std::uint64_t room, Plan& plan) {
  const std::vector<std::uint32_t> residents = spread_evenly(index, needs.chunks, room);
  for (const std::uint32_t c : residents) plan.resident[c] = true;
  plan.resident_bytes = slots_of(index, residents);
}

// The table whose rows are looked up, where it is no head. A row costs a read of 0.1 to 0.4 ms: worth the memory only when everything else is there.
std::vector<std::uint32_t> chunks_of_table(const LeafIndex& index) {
  std::vector<std::uint32_t> chunks;
  if (index.model.tied_head) return chunks;
  for (const compress::ModuleEntry& m : index.modules)
    if (m.kind == ModuleKind::embedding)
      for (std::uint32_t c = m.first_chunk; c < m.first_chunk + m.chunk_count; c++) chunks.push_back(c);
  return chunks;
}

// A ring that is larger than what is missing for all weights to fit would itself be the reason for most of the reading.
std::uint64_t choose_ring(const LeafIndex& index, const Needs& needs, std::uint64_t room, std::uint64_t held) {
  const std::uint64_t missing = needs.all_weights - std::min(needs.all_weights, room);
  const std::uint64_t wish = std::min({kRingWish, room / kRingShare, missing}) / compress::kPage * compress::kPage;
  return std::min(std::max(least_ring_bytes(index, needs.chunks), wish) + held, needs.all_weights);
}

}  // namespace

std::vector<std::uint32_t> chunks_of_step(const LeafIndex& index) {
  std::vector<std::uint32_t> chunks;
  const auto add = [&](const compress::ModuleEntry& m) {
    for (std::uint32_t c = m.first_chunk; c < m.first_chunk + m.chunk_count; c++) chunks.push_back(c);
  };
  for (const compress::ModuleEntry& m : index.modules)
    if (m.kind == ModuleKind::attention || m.kind == ModuleKind::feed_forward) add(m);
  for (const compress::ModuleEntry& m : index.modules)
    if (m.kind == (index.model.tied_head ? ModuleKind::embedding : ModuleKind::head)) add(m);
  return chunks;
}

std::uint64_t staging_bytes(const LeafIndex& index) {
  std::uint64_t largest = 0;
  for (const std::uint32_t c : chunks_of_step(index))
    if (index.chunks[c].codec != compress::Codec::none) largest = std::max<std::uint64_t>(largest, stored_pages(index.chunks[c]));
  return kStagingSlots * largest;
}

std::uint64_t least_ring_bytes(const LeafIndex& index, const std::vector<std::uint32_t>& chunks) {
  std::uint64_t largest = 0;
  for (const std::uint32_t c : chunks) largest = std::max<std::uint64_t>(largest, slot_bytes(index.chunks[c]));
  return std::min(slots_of(index, chunks), 4 * largest);
}

std::uint64_t least_budget(const LeafIndex& index, const PlanRequest& request) { return Needs(index, request).least(); }

Plan make_plan(const LeafIndex& index, const PlanRequest& request) {
  const Needs needs(index, request);
  const std::uint64_t machine = saturating_sum(request.available, request.already_charged);
  const std::uint64_t budget = request.budget ? std::min(*request.budget, machine) : machine - std::min(kOthers, machine / 16);
  if (budget < needs.least()) refuse(needs, request, budget);

  Plan plan;
  plan.resident.assign(index.chunks.size(), false);
  plan.fixed_bytes = needs.fixed;
  plan.buffers = request.buffers;
  plan.budget = budget;
  if (budget >= needs.everything()) {
    for (const std::uint32_t c : needs.chunks) plan.resident[c] = true;
    plan.resident_bytes = needs.all_weights;
    const std::vector<std::uint32_t> table = chunks_of_table(index);
    const std::uint64_t with_table = saturating_sum(needs.all_weights, slots_of(index, table));
    if (budget >= needs.with_weights(with_table)) {
      for (const std::uint32_t c : table) plan.resident[c] = true;
      plan.resident_bytes = with_table;
    }
    plan.total = needs.with_weights(plan.resident_bytes);
    return plan;
  }
  const std::uint64_t room = without_tables(budget - needs.fixed) - needs.buffers;
  // Of a module that is held only what is streamed needs room; how much that is depends on the residents, and they on the ring: begin with whole modules and take what turns out less.
  std::uint64_t held = needs.held;
  Plan chosen;
  for (int round = 0; round < kRingRounds; round++) {
    Plan next = plan;
    next.ring_bytes = choose_ring(index, needs, room, held);
    choose_residents(index, needs, room - std::min(room, next.ring_bytes), next);
    const std::uint64_t found = needs.held == 0 ? 0 : largest_streamed_part(index, [&](std::uint32_t c) { return !next.resident[c]; });
    if (found > held) break;  // the plan before this one stands
    chosen = std::move(next);
    if (found == held) break;
    held = found;
  }
  plan = std::move(chosen);
  for (const std::uint32_t c : needs.chunks)
    if (!plan.resident[c]) {
      plan.streamed.push_back(c);
      plan.streamed_bytes += stored_pages(index.chunks[c]);
    }
  plan.total = needs.with_weights(plan.ring_bytes + plan.resident_bytes);
  return plan;
}

}  // namespace leafcutter::offload
