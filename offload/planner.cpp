#include "offload/planner.h"

#include <algorithm>
#include <limits>
#include <string>

#include "base/error.h"
#include "base/size_text.h"
#include "offload/chunk_sizes.h"

namespace leafcutter::offload {
namespace {

using compress::LeafIndex;
using compress::ModuleKind;

// What is not there yet when the plan is made: pages of code and libraries not touched so far, growth of the heap, stacks of threads and their decoders, the kernel's side of the reads.
constexpr std::uint64_t kMargin = std::uint64_t{5} << 20;
// Page tables of arenas that get no huge pages: 8 bytes for 4096, and a quarter more.
constexpr std::uint64_t kBytesPerTableByte = 400;
// Nine chunks of 4 MiB: two held, one being checked, 16 MiB of reads in flight, the rest waiting to be used. More gained nothing on any disk measured (docs/benchmarks.md).
constexpr std::uint64_t kRingWish = std::uint64_t{36} << 20;
constexpr std::uint64_t kRingShare = 4;  // the ring gets at most a quarter of what weights may have
constexpr int kRingRounds = 4;           // of fitting ring and residents to each other
// Where no budget is given: leave this much to the rest of the machine, or a sixteenth if that is less.
constexpr std::uint64_t kOthers = std::uint64_t{256} << 20;

std::uint64_t sum(std::uint64_t a, std::uint64_t b) { return checked_add(a, b).value_or(std::numeric_limits<std::uint64_t>::max()); }

std::uint64_t with_tables(std::uint64_t arena) { return sum(arena, arena / kBytesPerTableByte); }

// The largest arena that fits `room` together with its tables.
std::uint64_t without_tables(std::uint64_t room) {
  std::uint64_t arena = room - room / (kBytesPerTableByte + 1);
  while (arena > 0 && with_tables(arena) > room) arena--;  // once at the most: rounding
  return arena;
}

std::uint64_t slots_of(const LeafIndex& index, const std::vector<std::uint32_t>& chunks) {
  std::uint64_t bytes = 0;
  for (const std::uint32_t c : chunks) bytes += slot_bytes(index.chunks[c]);
  return bytes;
}

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
        fixed(sum(request.already_charged, kMargin)),
        staging(staging_bytes(index)),
        buffers(staging),
        all_weights(slots_of(index, chunks)),
        least_ring(least_ring_bytes(index, chunks)) {
    if (request.holds_modules) {
      held = largest_streamed_part(index, [](std::uint32_t) { return true; });
      least_ring = std::min(all_weights, least_ring + held);
    }
    for (const BufferNeed& buffer : request.buffers) buffers = sum(buffers, buffer.bytes);
  }

  std::uint64_t with_weights(std::uint64_t bytes) const { return sum(fixed, with_tables(sum(buffers, bytes))); }
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

// Residents spread evenly in order of execution: of each stretch of the step the same share stays, so that reads and compute interleave.
void choose_residents(const LeafIndex& index, const Needs& needs, std::uint64_t room, Plan& plan) {
  std::uint64_t passed = 0;
  const auto keep = [&](std::uint32_t chunk) {
    plan.resident[chunk] = true;
    plan.resident_bytes += slot_bytes(index.chunks[chunk]);
  };
  const long double share = static_cast<long double>(room) / static_cast<long double>(needs.all_weights);
  for (const std::uint32_t c : needs.chunks) {
    const std::uint64_t bytes = slot_bytes(index.chunks[c]);
    passed += bytes;
    const auto due = static_cast<std::uint64_t>(share * static_cast<long double>(passed));
    if (plan.resident_bytes + bytes <= std::min(due, room)) keep(c);
  }
  // The loop above stays up to a chunk behind its share; what that leaves goes to whatever still fits, from the end of the step.
  for (auto c = needs.chunks.rbegin(); c != needs.chunks.rend(); ++c)
    if (!plan.resident[*c] && plan.resident_bytes + slot_bytes(index.chunks[*c]) <= room) keep(*c);
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
  const std::uint64_t machine = sum(request.available, request.already_charged);
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
    const std::uint64_t with_table = sum(needs.all_weights, slots_of(index, table));
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
