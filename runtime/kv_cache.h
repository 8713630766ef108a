// Keys and values of all sequences: per layer with attention, per sequence and KV head, rows of positions.
#pragma once

#include <cstdint>
#include <vector>

#include "base/page_buffer.h"
#include "compress/model_description.h"
#include "kernels/attention.h"
#include "kernels/kv_rows.h"

namespace leafcutter::runtime {

// Bytes for one position of one sequence, all layers.
std::uint64_t kv_bytes_per_position(const compress::ModelDescription& model, kernels::KvType type);

// Not thread-safe as a whole; different rows may be stored by different threads at once.
class KvCache {
 public:
  KvCache(const compress::ModelDescription& model, kernels::KvType type, std::uint64_t capacity, std::size_t sequences);

  kernels::KvType type() const { return type_; }
  std::uint64_t capacity() const { return capacity_; }
  std::uint64_t bytes() const { return buffer_.size(); }

  // How many positions of a sequence are there in all layers.
  std::uint64_t positions(std::uint32_t sequence) const { return positions_.at(sequence); }
  void set_positions(std::uint32_t sequence, std::uint64_t positions) { positions_.at(sequence) = positions; }

  // Keys and values of one position, kv_heads * head_dim floats each.
  void store(std::size_t layer, std::uint32_t sequence, std::uint64_t position, const float* k, const float* v);

  // What attention reads: `visible` positions of a sequence.
  kernels::AttentionRow row(std::size_t layer, std::uint32_t sequence, std::uint64_t visible) const;

 private:
  struct Layer {
    std::size_t offset = 0;  // of the keys of sequence 0
    std::size_t kv_heads = 0, head_dim = 0, row_bytes = 0;
    std::size_t plane_bytes(std::uint64_t capacity) const { return kv_heads * capacity * row_bytes; }  // keys or values of one sequence
  };

  kernels::KvType type_;
  std::uint64_t capacity_;
  std::vector<Layer> layers_;
  std::vector<std::uint64_t> positions_;
  PageBuffer buffer_;
};

}  // namespace leafcutter::runtime
