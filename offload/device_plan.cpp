#include "offload/device_plan.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/size_text.h"
#include "compress/strip_walk.h"
#include "offload/arena_budget.h"
#include "offload/chunk_sizes.h"
#include "offload/even_spread.h"

namespace leafcutter::offload {
namespace {

using compress::LeafIndex;
using compress::ModuleEntry;
using compress::ModuleKind;

// Allocations of a card are rounded up to 2 MiB each; a dozen of them, and what the driver takes while kernels run.
constexpr std::uint64_t kDeviceMargin = std::uint64_t{32} << 20;
// Where no driver is charged: allocations are rounded up to a few KiB at the most.
constexpr std::uint64_t kMarginWithoutDriver = std::uint64_t{64} << 10;
// Sixteen chunks of 4 MiB: the link goes on for 6 ms at 11 GB/s while the card or the host has something longer to do.
constexpr std::uint64_t kDeviceRingWish = std::uint64_t{64} << 20;
constexpr std::uint64_t kDeviceRingShare = 8;  // of what weights may have

[[noreturn]] void refuse(const std::string& tier, const std::string& flag, std::uint64_t need, const std::string& what,
                         std::uint64_t have) {
  throw Error(ErrorKind::out_of_budget, tier, "need " + format_bytes(need) + " (" + what + "), have " + format_bytes(have),
              "raise " + flag + " to " + std::to_string(need) + " or lower --ctx-size");
}

std::uint64_t bytes_of(const std::vector<BufferNeed>& buffers) {
  std::uint64_t bytes = 0;
  for (const BufferNeed& buffer : buffers) bytes = saturating_sum(bytes, buffer.bytes);
  return bytes;
}

std::uint64_t ring_for(const LeafIndex& index, const std::vector<std::uint32_t>& chunks, std::uint64_t wish, std::uint64_t room,
                       std::uint64_t share) {
  const std::uint64_t missing = slots_of(index, chunks) - std::min(slots_of(index, chunks), room);
  const std::uint64_t bytes = std::min({wish, room / share, missing}) / compress::kPage * compress::kPage;
  return std::max(least_ring_bytes(index, chunks), bytes);
}

bool is_in_layer(const ModuleEntry& module) { return module.kind == ModuleKind::attention || module.kind == ModuleKind::feed_forward; }

std::vector<std::uint32_t> chunks_where(const DevicePlan& plan, const std::vector<std::uint32_t>& visited, Tier tier) {
  std::vector<std::uint32_t> chunks;
  for (const std::uint32_t c : visited)
    if (plan.residence[c] == tier) chunks.push_back(c);
  return chunks;
}

struct Placing {
  const LeafIndex& index;
  const DeviceRequest& request;
  const std::vector<std::uint32_t> visited = chunks_of_products(index);
  DevicePlan plan{};

  void keep(const std::vector<std::uint32_t>& chunks, Tier tier) {
    for (const std::uint32_t c : chunks) plan.residence[c] = tier;
  }

  std::uint64_t kv_of(std::size_t layer) const { return layer < request.kv_bytes.size() ? request.kv_bytes[layer] : 0; }

  // ---- the card

  // What weights and KV may have; refused where there is not even room for a ring.
  std::uint64_t device_room() {
    plan.device_budget = request.device_budget;
    plan.context_bytes = request.context_bytes;
    plan.device_margin = request.context_bytes > 0 ? kDeviceMargin : kMarginWithoutDriver;
    plan.device_buffer_bytes = bytes_of(request.device_buffers);
    const std::uint64_t ring = least_ring_bytes(index, visited);
    const std::uint64_t fixed = saturating_sum(saturating_sum(plan.context_bytes, plan.device_margin), plan.device_buffer_bytes);
    const std::uint64_t need = saturating_sum(fixed, ring);
    if (request.device_budget < need)
      refuse("device memory", "--device-memory", need,
             "driver's context " + format_bytes(plan.context_bytes) + ", margin " + format_bytes(plan.device_margin) + ", buffers " +
                 format_bytes(plan.device_buffer_bytes) + ", ring for copies " + format_bytes(ring),
             request.device_budget);
    return request.device_budget - fixed;
  }

  void spread_over_device(std::uint64_t room, bool with_ring, const PerProduct& held_back) {
    const std::uint64_t ring = with_ring ? least_ring_bytes(index, visited) : 0;
    for (std::size_t layer = 0; layer < index.model.layers.size(); layer++) {
      if (plan.device_kv_bytes + kv_of(layer) > room - ring) break;
      plan.kv_on_device[layer] = true;
      plan.device_kv_bytes += kv_of(layer);
    }
    room -= plan.device_kv_bytes;
    const bool all_alike = std::all_of(held_back.begin(), held_back.end(), [](double share) { return share == 0; });
    const std::uint64_t most = all_alike ? room : std::min(room, wanted(held_back));
    if (slots_of(index, visited) <= most) return keep(visited, Tier::device);
    if (with_ring) plan.device_ring_bytes = ring_for(index, visited, kDeviceRingWish, most, kDeviceRingShare);
    const std::uint64_t left = std::min(most, room - plan.device_ring_bytes);
    if (all_alike) return keep(spread_evenly(index, visited, left), Tier::device);
    spread_by_product(left, held_back);
  }

  std::uint64_t of_product(const std::vector<std::uint32_t>& chunks, double share) const {
    return static_cast<std::uint64_t>(share * static_cast<double>(slots_of(index, chunks)));
  }

  std::array<std::vector<std::uint32_t>, kProducts> by_product() const {
    std::array<std::vector<std::uint32_t>, kProducts> chunks;
    for (const std::uint32_t c : visited) chunks[static_cast<std::size_t>(product_of(index, index.chunks[c]))].push_back(c);
    return chunks;
  }

  // Slots of all that is not held back.
  std::uint64_t wanted(const PerProduct& held_back) const {
    std::uint64_t bytes = 0;
    const auto chunks = by_product();
    for (std::size_t p = 0; p < kProducts; p++) bytes += of_product(chunks[p], 1 - held_back[p]);
    return bytes;
  }

  void spread_by_product(std::uint64_t room, const PerProduct& held_back) {
    const auto chunks = by_product();
    const double part = std::min(1.0, static_cast<double>(room) / static_cast<double>(std::max<std::uint64_t>(wanted(held_back), 1)));
    std::uint64_t kept = 0;
    for (std::size_t p = 0; p < kProducts; p++) {
      const auto staying = spread_evenly(index, chunks[p], of_product(chunks[p], part * (1 - held_back[p])));
      kept += slots_of(index, staying);
      keep(staying, Tier::device);
    }
    if (part == 1) return;
    // What rounding leaves, as spread_evenly has it.
    for (std::size_t i = visited.size(); i-- > 0;) {
      const std::uint64_t bytes = slot_bytes(index.chunks[visited[i]]);
      if (plan.residence[visited[i]] == Tier::device || kept + bytes > room) continue;
      plan.residence[visited[i]] = Tier::device;
      kept += bytes;
    }
  }

  // From the end of the step: the head, then layers.
  void fill_from_the_end(std::uint64_t room) {
    const auto take = [&](const std::vector<std::uint32_t>& chunks, std::uint64_t kv) {
      const std::uint64_t bytes = slots_of(index, chunks);
      if (kv > room || bytes > room - kv) return false;
      room -= bytes + kv;
      plan.device_kv_bytes += kv;
      keep(chunks, Tier::device);
      return true;
    };
    std::vector<std::vector<std::uint32_t>> layers(index.model.layers.size());
    std::vector<std::uint32_t> head;
    for (const std::uint32_t c : visited) {
      const ModuleEntry& module = index.modules[index.chunks[c].module];
      (is_in_layer(module) ? layers[module.layer] : head).push_back(c);
    }
    if (!take(head, 0)) return;
    for (std::size_t layer = layers.size(); layer-- > 0;) {
      if (!take(layers[layer], kv_of(layer))) return;
      plan.kv_on_device[layer] = true;
    }
  }

  void finish_device() {
    plan.device_resident_bytes = slots_of(index, chunks_where(plan, visited, Tier::device));
    plan.device_total = plan.context_bytes + plan.device_margin + plan.device_buffer_bytes + plan.device_kv_bytes + plan.device_ring_bytes +
                        plan.device_resident_bytes;
  }

  // ---- host memory

  void place_in_host() {
    const PlanRequest& host = request.host;
    const std::uint64_t machine = saturating_sum(host.available, host.already_charged);
    plan.host_budget = host.budget ? std::min(*host.budget, machine) : machine;
    plan.host_fixed_bytes = saturating_sum(host.already_charged, kProcessMargin);
    for (std::size_t layer = 0; layer < index.model.layers.size(); layer++)
      if (!plan.kv_on_device[layer]) plan.host_kv_bytes = saturating_sum(plan.host_kv_bytes, kv_of(layer));
    plan.host_buffer_bytes = saturating_sum(bytes_of(host.buffers), staging_bytes(index));
    const std::vector<std::uint32_t> rest = chunks_where(plan, visited, Tier::disk);
    const std::uint64_t least_ring = least_ring_bytes(index, rest);
    const std::uint64_t buffers = saturating_sum(plan.host_buffer_bytes, plan.host_kv_bytes);
    const std::uint64_t need = saturating_sum(plan.host_fixed_bytes, with_tables(saturating_sum(buffers, least_ring)));
    if (plan.host_budget < need)
      refuse("memory", "--memory", need,
             "process and margin " + format_bytes(plan.host_fixed_bytes) + ", buffers " + format_bytes(plan.host_buffer_bytes) +
                 ", KV cache that the card has no room for " + format_bytes(plan.host_kv_bytes) + ", ring for streaming " +
                 format_bytes(least_ring),
             plan.host_budget);
    const std::uint64_t room = without_tables(plan.host_budget - plan.host_fixed_bytes) - buffers;
    if (slots_of(index, rest) <= room) {
      keep(rest, Tier::host);
    } else {
      plan.host_ring_bytes = std::min(room, ring_for(index, rest, kRingWish, room, kRingShare));
      keep(spread_evenly(index, rest, room - plan.host_ring_bytes), Tier::host);
    }
    plan.host_resident_bytes = slots_of(index, chunks_where(plan, visited, Tier::host));
    place_table(room - plan.host_ring_bytes - plan.host_resident_bytes);
    for (const std::uint32_t c : chunks_where(plan, visited, Tier::disk)) plan.streamed_bytes += stored_pages(index.chunks[c]);
    const std::uint64_t arenas = buffers + plan.host_ring_bytes + plan.host_resident_bytes + plan.table_bytes;
    plan.page_table_bytes = with_tables(arenas) - arenas;
    plan.host_total = plan.host_fixed_bytes + arenas + plan.page_table_bytes;
  }

  // Rows of an embedding are looked up by the host, also where the same chunks are the head and lie on the card.
  void place_table(std::uint64_t room) {
    std::uint64_t missing = 0;
    for (const ModuleEntry& module : index.modules) {
      if (module.kind != ModuleKind::embedding) continue;
      for (std::uint32_t c = module.first_chunk; c < module.first_chunk + module.chunk_count; c++)
        if (plan.residence[c] != Tier::host) missing += slot_bytes(index.chunks[c]);
    }
    plan.table_in_memory = missing <= room;
    if (plan.table_in_memory) plan.table_bytes = missing;
  }
};

// Rows that are only looked up. They come last in their module.
bool is_table(const LeafIndex& index, const compress::StripRange& range) {
  const compress::TensorRole role = index.tensors[range.tensor].role;
  return role == compress::TensorRole::prompt_embedding || role == compress::TensorRole::segment_embedding;
}

// Strips of one chunk may differ in size: so many that their bytes come nearest.
std::uint32_t strips_of_share(const LeafIndex& index, const compress::ChunkEntry& chunk, double share) {
  double left = share * static_cast<double>(product_bytes(index, chunk));
  std::uint64_t strips = 0;
  for (const compress::StripRange& range : compress::strips_of_chunk(index, chunk)) {
    if (is_table(index, range)) break;
    const auto strip = static_cast<double>(index.tensors[range.tensor].strip_bytes());
    const auto wanted = static_cast<std::uint64_t>(std::llround(std::max(left, 0.0) / strip));
    const std::uint64_t taken = std::min(wanted, range.end - range.begin);
    strips += taken;
    left -= static_cast<double>(taken) * strip;
    if (taken < range.end - range.begin) break;
  }
  return static_cast<std::uint32_t>(strips);
}

}  // namespace

std::vector<std::uint32_t> chunks_of_products(const LeafIndex& index) {
  std::vector<std::uint32_t> chunks = chunks_of_step(index);
  std::erase_if(chunks, [&](std::uint32_t c) { return product_bytes(index, index.chunks[c]) == 0; });
  return chunks;
}

std::uint64_t product_bytes(const LeafIndex& index, const compress::ChunkEntry& chunk) {
  for (const compress::StripRange& range : compress::strips_of_chunk(index, chunk))
    if (is_table(index, range)) return range.offset - chunk.module_offset;
  return chunk.raw_bytes;
}

DevicePlan place(const LeafIndex& index, const DeviceRequest& request, Residents residents, bool with_ring, const PerProduct& held_back) {
  Placing placing{index, request};
  DevicePlan& plan = placing.plan;
  plan.residence.assign(index.chunks.size(), Tier::disk);
  plan.kv_on_device.assign(index.model.layers.size(), false);
  const std::uint64_t room = placing.device_room();
  if (residents == Residents::even)
    placing.spread_over_device(room, with_ring, held_back);
  else
    placing.fill_from_the_end(room);
  placing.finish_device();
  placing.place_in_host();
  plan.decode = plan.prefill = with_host_share(index, plan, plan.device_ring_bytes > 0 ? 0 : 1);
  return std::move(placing.plan);
}

Sides with_host_share(const LeafIndex& index, const DevicePlan& plan, const PerProduct& share) {
  Sides sides;
  sides.host_strips.assign(index.chunks.size(), 0);
  for (const std::uint32_t c : chunks_of_products(index)) {
    if (plan.residence[c] == Tier::device) continue;
    sides.host_strips[c] = strips_of_share(index, index.chunks[c], share[static_cast<std::size_t>(product_of(index, index.chunks[c]))]);
  }
  return sides;
}

Sides with_host_share(const LeafIndex& index, const DevicePlan& plan, double share) {
  PerProduct shares;
  shares.fill(share);
  return with_host_share(index, plan, shares);
}

std::uint64_t bytes_of_first_strips(const LeafIndex& index, const compress::ChunkEntry& chunk, std::uint32_t strips) {
  std::uint64_t bytes = 0, left = strips;
  for (const compress::StripRange& range : compress::strips_of_chunk(index, chunk)) {
    const std::uint64_t of_range = std::min(left, range.end - range.begin);
    bytes += of_range * index.tensors[range.tensor].strip_bytes();
    left -= of_range;
  }
  return bytes;
}

}  // namespace leafcutter::offload
