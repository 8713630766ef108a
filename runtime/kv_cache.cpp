#include "runtime/kv_cache.h"

#include "base/checked.h"

namespace leafcutter::runtime {

std::uint64_t kv_bytes_per_position(const compress::ModelDescription& model, kernels::KvType type) {
  std::uint64_t bytes = 0;
  for (const compress::LayerDescription& layer : model.layers)
    if (layer.has_attention) bytes += 2 * std::uint64_t{layer.kv_heads} * kernels::kv_row_bytes(type, layer.head_dim);
  return bytes;
}

std::uint64_t kv_cache_bytes(const compress::ModelDescription& model, kernels::KvType type, const KvShape& shape) {
  constexpr std::uint64_t kOfSlot = 2 * sizeof(std::uint32_t), kOfPosition = sizeof(std::uint32_t) + sizeof(std::uint8_t);
  return shape.slots * (kv_bytes_per_position(model, type) + kOfSlot) + shape.sequences * shape.max_positions * kOfPosition;
}

KvCache::KvCache(const compress::ModelDescription& model, kernels::KvType type, const KvShape& shape, const std::vector<bool>& elsewhere)
    : type_(type), slots_(static_cast<std::size_t>(shape.slots)), max_positions_(shape.max_positions), sequences_(shape.sequences) {
  std::size_t here = 0, there = 0;
  for (std::size_t l = 0; l < model.layers.size(); l++) {
    const compress::LayerDescription& description = model.layers[l];
    Layer layer;
    if (description.has_attention) {
      layer.here = elsewhere.empty() || !elsewhere[l];
      layer.kv_heads = description.kv_heads;
      layer.head_dim = description.head_dim;
      layer.row_bytes = kernels::kv_row_bytes(type, description.head_dim);
      layer.plane = layer.kv_heads * slots_ * layer.row_bytes;
      std::size_t& end = layer.here ? here : there;
      layer.offset = end;
      end += layer.bytes();
    }
    layers_.push_back(layer);
  }
  buffer_ = PageBuffer(here, "KV cache");
  for (Sequence& sequence : sequences_) {
    sequence.slots.reserve(max_positions_);
    sequence.segments.reserve(max_positions_);
  }
  users_.assign(slots_, 0);
  free_.resize(slots_);
  for (std::size_t i = 0; i < slots_; i++) free_[i] = static_cast<std::uint32_t>(slots_ - 1 - i);
}

void KvCache::append(std::uint32_t sequence, std::uint8_t segment) {
  const std::uint32_t slot = free_.back();
  free_.pop_back();
  users_[slot] = 1;
  sequences_[sequence].slots.push_back(slot);
  sequences_[sequence].segments.push_back(segment);
}

void KvCache::truncate(std::uint32_t sequence, std::uint64_t positions) {
  Sequence& s = sequences_.at(sequence);
  while (s.slots.size() > positions) {
    if (--users_[s.slots.back()] == 0) free_.push_back(s.slots.back());
    s.slots.pop_back();
    s.segments.pop_back();
  }
}

void KvCache::fork(std::span<const std::uint32_t> parents) {
  for (const std::uint32_t parent : parents)
    for (const std::uint32_t slot : sequences_.at(parent).slots) users_[slot]++;  // first, so that what stays in use is never free
  const std::vector<Sequence> before(sequences_.begin(), sequences_.begin() + static_cast<std::ptrdiff_t>(parents.size()));
  for (std::uint32_t i = 0; i < parents.size(); i++) {
    const Sequence& parent = parents[i] < parents.size() ? before[parents[i]] : sequences_[parents[i]];
    truncate(i, 0);
    sequences_[i].slots.insert(sequences_[i].slots.end(), parent.slots.begin(), parent.slots.end());
    sequences_[i].segments.insert(sequences_[i].segments.end(), parent.segments.begin(), parent.segments.end());
  }
}

void KvCache::store(std::size_t layer, std::uint32_t sequence, std::uint64_t position, const float* k, const float* v) {
  const Layer& l = layers_[layer];
  std::byte* keys = buffer_.data() + l.offset + sequences_[sequence].slots[position] * l.row_bytes;
  for (std::size_t head = 0; head < l.kv_heads; head++) {
    const std::size_t at = head * l.head_bytes();
    kernels::kv_store_row(type_, k + head * l.head_dim, l.head_dim, keys + at);
    kernels::kv_store_row(type_, v + head * l.head_dim, l.head_dim, keys + l.plane + at);
  }
}

kernels::AttentionRow KvCache::row(std::size_t layer, std::uint32_t sequence, std::uint64_t position, std::uint64_t visible) const {
  const Layer& l = layers_[layer];
  const Sequence& s = sequences_[sequence];
  kernels::AttentionRow row{};
  row.k = buffer_.data() + l.offset;
  row.v = row.k + l.plane;
  row.head_stride = l.head_bytes();
  row.visible = visible;
  row.slots = s.slots.data();
  row.segments = s.segments.data();
  row.position = position;
  row.segment = s.segments[position];
  return row;
}

}  // namespace leafcutter::runtime
