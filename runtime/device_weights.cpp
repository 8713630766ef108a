#include "runtime/device_weights.h"

#include <algorithm>
#include <exception>
#include <string>

#include "base/checked.h"
#include "base/error.h"
#include "compress/leaf_reader.h"
#include "offload/chunk_sizes.h"

namespace leafcutter::runtime {
namespace {

using offload::CopyAhead;
using offload::DeviceBuffer;
using offload::Tier;

std::size_t slot_of(std::size_t bytes) { return static_cast<std::size_t>(round_up(bytes, offload::kDeviceAlignment)); }

std::vector<CopyAhead::Chunk> copies_of(const offload::Pager& pager, const std::vector<std::uint32_t>& chunks,
                                        const std::vector<std::size_t>& bytes) {
  std::vector<CopyAhead::Chunk> copies;
  copies.reserve(chunks.size());
  for (const std::uint32_t c : chunks) copies.push_back({slot_of(bytes[c]), bytes[c], !pager.is_resident(c)});
  return copies;
}

std::vector<std::size_t> host_bytes_of(const compress::LeafIndex& index, const offload::DevicePlan& plan, const offload::Sides& sides) {
  std::vector<std::size_t> bytes(index.chunks.size(), 0);
  for (std::uint32_t c = 0; c < index.chunks.size(); c++)
    if (plan.residence[c] != Tier::device)
      bytes[c] = static_cast<std::size_t>(offload::bytes_of_first_strips(index, index.chunks[c], sides.host_strips[c]));
  return bytes;
}

std::vector<std::size_t> device_bytes_of(const compress::LeafIndex& index, const std::vector<std::size_t>& host_bytes) {
  std::vector<std::size_t> bytes(index.chunks.size(), 0);
  for (const std::uint32_t c : offload::chunks_of_products(index))
    bytes[c] = static_cast<std::size_t>(offload::product_bytes(index, index.chunks[c])) - host_bytes[c];
  return bytes;
}

std::vector<std::uint32_t> copied_chunks(const compress::LeafIndex& index, const offload::DevicePlan& plan,
                                         const std::vector<std::size_t>& device_bytes) {
  std::vector<std::uint32_t> chunks = offload::chunks_of_products(index);
  std::erase_if(chunks, [&](std::uint32_t c) { return plan.residence[c] == Tier::device || device_bytes[c] == 0; });
  return chunks;
}

}  // namespace

std::vector<std::uint32_t> DeviceWeights::host_order(const compress::LeafIndex& index, const offload::DevicePlan& plan) {
  std::vector<std::uint32_t> chunks = offload::chunks_of_products(index);
  std::erase_if(chunks, [&](std::uint32_t c) { return plan.residence[c] == Tier::device; });
  return chunks;
}

DeviceWeights::Order::Order(const compress::LeafIndex& index, const offload::DevicePlan& plan, const offload::Sides& sides,
                            const offload::Pager& pager)
    : host_bytes(host_bytes_of(index, plan, sides)),
      device_bytes(device_bytes_of(index, host_bytes)),
      copied(copied_chunks(index, plan, device_bytes)),
      copy_position(index.chunks.size(), kNowhere),
      ahead(copies_of(pager, copied, device_bytes), plan.device_ring_bytes, 1) {
  for (std::size_t i = 0; i < copied.size(); i++) copy_position[copied[i]] = i;
}

DeviceWeights::DeviceWeights(offload::Device& device, const compress::LeafIndex& index, const offload::DevicePlan& plan,
                             offload::Pager& pager, offload::DeviceStream compute)
    : device_(device),
      index_(index),
      pager_(pager),
      decode_(index, plan, plan.decode, pager),
      resident_offset_(index.chunks.size(), kNowhere),
      copies_(device.make_stream()),
      compute_(compute) {
  if (plan.prefill.host_strips != plan.decode.host_strips) prefill_.emplace(index, plan, plan.prefill, pager);
  std::size_t arena = 0;
  for (std::uint32_t c = 0; c < index.chunks.size(); c++)
    if (plan.residence[c] == Tier::device) {
      resident_offset_[c] = arena;
      if (!continues(c)) resident_offset_[c] = arena = slot_of(arena);
      arena += index.chunks[c].raw_bytes;
    }
  for (const std::uint32_t c : host_order(index, plan))
    if (!pager.is_resident(c)) streamed_.push_back(c);
  play_reads(plan);
  arena_ = DeviceBuffer(device, arena, "resident weights");
  sources_.reserve(streamed_.size());
  const std::size_t turns = std::max(decode_.ahead.most_turns(), prefill_ ? prefill_->ahead.most_turns() : 0);
  if (turns == 0) return;
  ring_ = DeviceBuffer(device, plan.device_ring_bytes, "ring of copied chunks");
  for (std::size_t i = 0; i < turns; i++) {
    copied_events_.push_back(device.make_event());
    used_events_.push_back(device.make_event());
  }
  if (!decode_.copied.empty()) decode_.ahead.resume();
}

void DeviceWeights::play_reads(const offload::DevicePlan& plan) {
  if (streamed_.empty()) return;
  offload::HostReads reads;
  for (const std::uint32_t c : streamed_) {
    const compress::ChunkEntry& chunk = index_.chunks[c];
    reads.order.push_back({offload::slot_bytes(chunk), offload::stored_pages(chunk), chunk.codec != compress::Codec::none});
    reads.check_bytes.push_back(offload::check_bytes(chunk));
  }
  reads.ring_bytes = static_cast<std::size_t>(plan.host_ring_bytes);
  reads.staging_slots = offload::kStagingSlots;
  reads_ = device_.play_reads(reads);
}

void DeviceWeights::load(File& file, std::stop_token stop) {
  std::size_t largest = 0;
  for (std::uint32_t c = 0; c < index_.chunks.size(); c++)
    if (resident_offset_[c] != kNowhere) largest = std::max<std::size_t>(largest, index_.chunks[c].raw_bytes);
  offload::StagingBuffer staging(device_, largest, "staging of the device's weights");
  for (std::uint32_t c = 0; c < index_.chunks.size(); c++) {
    if (resident_offset_[c] == kNowhere) continue;
    if (stop.stop_requested()) throw Error(ErrorKind::cancelled, file.name(), "stopped on request while weights were loaded");
    const std::size_t bytes = index_.chunks[c].raw_bytes;
    compress::read_chunk(file, index_, c, {staging.data(), bytes});
    device_.copy_to_device(arena_.address() + resident_offset_[c], staging.data(), {bytes}, copies_);
    device_.synchronize(copies_);
  }
}

bool DeviceWeights::continues(std::uint32_t chunk) const {
  if (chunk == 0 || !stays(chunk) || !stays(chunk - 1)) return false;
  const compress::ChunkEntry &before = index_.chunks[chunk - 1], &entry = index_.chunks[chunk];
  return before.module == entry.module && before.module_offset + before.raw_bytes == entry.module_offset &&
         resident_offset_[chunk - 1] + before.raw_bytes == resident_offset_[chunk];
}

void DeviceWeights::begin_step(std::size_t rows) {
  Order& order = prefill_ && rows >= offload::kRowsOfPrefill ? *prefill_ : decode_;
  if (&order != order_) change_order(order);
  acquired_ = 0;
  step_end_ += streamed_.size();
}

offload::DeviceAddress DeviceWeights::on_device(std::uint32_t chunk) {
  if (resident_offset_[chunk] != kNowhere) return arena_.address() + resident_offset_[chunk];
  if (held_ == chunk) return ring_.address() + order_->ahead.ring_offset(order_->ahead.next() - 1);
  const std::uint64_t turn = order_->ahead.next();
  enqueue_copies();
  while (!order_->ahead.can_acquire()) {
    if (order_->ahead.stuck())
      throw Error(ErrorKind::device, compress::chunk_place(index_, chunk), "no room for it in the device's ring", "raise --device-memory");
    if (order_->ahead.wanted_source() == turn)
      take_next_source(true);
    else
      notice_copies(true);
    enqueue_copies();
  }
  order_->ahead.acquire();
  acquired_++;
  held_ = chunk;
  device_.wait(compute_, copied_events_[order_->ahead.slot(turn)]);
  return ring_.address() + order_->ahead.ring_offset(turn);
}

void DeviceWeights::device_used(std::uint32_t chunk) {
  if (held_ != chunk) return;
  held_.reset();
  device_.record(used_events_[order_->ahead.slot(order_->ahead.next() - 1)], compute_);
  order_->ahead.release(order_->copy_position[chunk]);
  enqueue_copies();
}

std::span<const std::byte> DeviceWeights::on_host(std::uint32_t chunk) {
  if (pager_.is_resident(chunk)) return pager_.acquire(chunk);
  for (;;) {
    for (const Source& source : sources_)
      if (source.chunk == chunk && source.host) return source.blob;
    take_next_source(true);
  }
}

void DeviceWeights::host_used(std::uint32_t chunk) {
  for (std::size_t i = 0; i < sources_.size(); i++)
    if (sources_[i].chunk == chunk && sources_[i].host) {
      sources_[i].host = false;
      return drop_if_done(i);
    }
}

void DeviceWeights::finish(const compress::ModuleEntry& module) {
  const auto in_module = [&](std::uint32_t chunk) {
    return chunk >= module.first_chunk && chunk < module.first_chunk + module.chunk_count;
  };
  if (held_) device_used(*held_);
  passed_ = taken_;
  while (passed_ < step_end_ && in_module(streamed_[passed_ % streamed_.size()])) passed_++;
  // Of the next step nothing that the host needs of this module can have been taken yet unless it is the only one; the older comes first.
  for (std::size_t i = 0; i < sources_.size() && sources_[i].turn < step_end_;)
    if (sources_[i].host && in_module(sources_[i].chunk)) {
      host_used(sources_[i].chunk);
      i = 0;
    } else {
      i++;
    }
  while (acquired_ < order_->copied.size() && in_module(chunk_of(order_->ahead.next()))) {
    const std::uint32_t chunk = chunk_of(order_->ahead.next());
    on_device(chunk);
    device_used(chunk);
  }
  while (taken_ < passed_) take_next_source(true);
}

void DeviceWeights::abandon() {
  const auto failure = std::make_exception_ptr(Error(ErrorKind::device, "device", "the step was given up"));
  if (!order_->copied.empty()) {
    // Whether what was under way came to its end is not known.
    while (order_->ahead.copies_in_flight() > 0) order_->ahead.end_copy(complete_++, failure);
    order_->ahead.pause();
    order_->ahead.start_over();
    complete_ = order_->ahead.next();
    while (order_->ahead.begun(complete_)) complete_++;
    order_->ahead.resume();
  }
  held_.reset();
  sources_.clear();
  taken_ = step_end_ = passed_ = 0;
  reset_sources();
}

// Between two steps.
void DeviceWeights::change_order(Order& order) {
  while (order_->ahead.copies_in_flight() > 0) notice_copies(true);
  if (!order_->copied.empty()) {
    order_->ahead.pause();
    order_->ahead.forget();
  }
  order_ = &order;
  complete_ = 0;
  if (!order.copied.empty()) order.ahead.resume();
  if (taken_ == step_end_) return;
  // Sources that were taken ahead are gone from the pager, or are used otherwise now.
  sources_.clear();
  taken_ = step_end_ = passed_ = 0;
  reset_sources();
}

// ---- copies and their sources

void DeviceWeights::enqueue_copies() {
  if (order_->copied.empty()) return;
  notice_copies(false);
  for (;;) {
    while (const auto copy = order_->ahead.begin_copy()) {
      const std::uint32_t chunk = chunk_of(copy->turn);
      const std::size_t skipped = order_->host_bytes[chunk], bytes = order_->ahead.chunk(copy->turn).copy_bytes;
      std::span<const std::byte> blob;
      if (pager_.is_resident(chunk)) {
        blob = pager_.acquire(chunk);
      } else {
        Source& source = *find_for_copy(chunk);
        source.copy = Copying::under_way;
        blob = source.blob;
      }
      if (copy->after_use_of) device_.wait(copies_, used_events_[order_->ahead.slot(*copy->after_use_of)]);
      device_.copy_to_device(ring_.address() + copy->offset, blob.data() + skipped, {bytes}, copies_);
      device_.record(copied_events_[order_->ahead.slot(copy->turn)], copies_);
      copied_bytes_ += bytes;
    }
    const auto wanted = order_->ahead.wanted_source();
    if (!wanted) return;
    if (!find_for_copy(chunk_of(*wanted)) && !(streamed_[taken_ % streamed_.size()] == chunk_of(*wanted) && take_next_source(false)))
      return;
    order_->ahead.source_arrived();
  }
}

// `wait`: at least one, if any is under way.
void DeviceWeights::notice_copies(bool wait) {
  while (order_->ahead.begun(complete_) && order_->ahead.stage(complete_) == CopyAhead::Stage::copying) {
    const offload::DeviceEvent event = copied_events_[order_->ahead.slot(complete_)];
    if (wait)
      device_.synchronize(event);
    else if (!device_.is_done(event))
      return;
    wait = false;
    if (!order_->ahead.end_copy(complete_++, nullptr)) continue;
    for (std::size_t i = 0; i < sources_.size(); i++)
      if (sources_[i].chunk == chunk_of(complete_ - 1) && sources_[i].copy == Copying::under_way) {
        sources_[i].copy = Copying::no;
        drop_if_done(i);
        break;
      }
  }
}

DeviceWeights::Source* DeviceWeights::find_for_copy(std::uint32_t chunk) {
  for (Source& source : sources_)
    if (source.chunk == chunk && source.copy == Copying::wanted) return &source;
  return nullptr;
}

bool DeviceWeights::take_next_source(bool wait) {
  const std::uint32_t chunk = streamed_[taken_ % streamed_.size()];
  if (!(reads_ ? reads_->is_ready() : pager_.is_ready(chunk))) {
    if (!wait) return false;
    // What is being copied holds room that the pager may need for this chunk.
    while (order_->ahead.copies_in_flight() > 0) notice_copies(true);
  }
  if (reads_) reads_->acquire();
  const std::span<const std::byte> blob = pager_.acquire(chunk);
  const bool host = order_->host_bytes[chunk] > 0 && taken_ >= passed_;
  sources_.push_back({taken_++, chunk, blob, order_->copy_position[chunk] != kNowhere ? Copying::wanted : Copying::no, host});
  drop_if_done(sources_.size() - 1);  // which nobody needs
  return true;
}

void DeviceWeights::reset_sources() {
  pager_.reset();
  if (reads_) reads_->reset();
}

void DeviceWeights::drop_if_done(std::size_t source) {
  if (sources_[source].host || sources_[source].copy != Copying::no) return;
  pager_.release(sources_[source].chunk);
  if (reads_) reads_->release(sources_[source].turn % streamed_.size());
  sources_.erase(sources_.begin() + static_cast<std::ptrdiff_t>(source));
}

}  // namespace leafcutter::runtime
