#include "runtime/kv_cache.h"

#include "base/checked.h"

namespace leafcutter::runtime {

std::uint64_t kv_bytes_per_position(const compress::ModelDescription& model, kernels::KvType type) {
  std::uint64_t bytes = 0;
  for (const compress::LayerDescription& layer : model.layers)
    if (layer.has_attention) bytes += 2 * std::uint64_t{layer.kv_heads} * kernels::kv_row_bytes(type, layer.head_dim);
  return bytes;
}

KvCache::KvCache(const compress::ModelDescription& model, kernels::KvType type, std::uint64_t capacity, std::size_t sequences)
    : type_(type), capacity_(capacity), positions_(sequences) {
  std::size_t bytes = 0;
  for (const compress::LayerDescription& description : model.layers) {
    Layer layer;
    if (description.has_attention) {
      layer.offset = bytes;
      layer.kv_heads = description.kv_heads;
      layer.head_dim = description.head_dim;
      layer.row_bytes = kernels::kv_row_bytes(type, description.head_dim);
      bytes += 2 * sequences * layer.plane_bytes(capacity);
    }
    layers_.push_back(layer);
  }
  buffer_ = PageBuffer(bytes, "KV cache");
}

void KvCache::store(std::size_t layer, std::uint32_t sequence, std::uint64_t position, const float* k, const float* v) {
  const Layer& l = layers_[layer];
  const std::size_t plane = l.plane_bytes(capacity_);
  std::byte* keys = buffer_.data() + l.offset + 2 * sequence * plane + position * l.row_bytes;
  for (std::size_t head = 0; head < l.kv_heads; head++) {
    const std::size_t at = head * capacity_ * l.row_bytes;
    kernels::kv_store_row(type_, k + head * l.head_dim, l.head_dim, keys + at);
    kernels::kv_store_row(type_, v + head * l.head_dim, l.head_dim, keys + plane + at);
  }
}

kernels::AttentionRow KvCache::row(std::size_t layer, std::uint32_t sequence, std::uint64_t visible) const {
  const Layer& l = layers_[layer];
  const std::size_t plane = l.plane_bytes(capacity_);
  kernels::AttentionRow row{};
  row.k = buffer_.data() + l.offset + 2 * sequence * plane;
  row.v = row.k + plane;
  row.head_stride = capacity_ * l.row_bytes;
  row.visible = visible;
  return row;
}

}  // namespace leafcutter::runtime
