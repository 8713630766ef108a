// Keys and values of all sequences: per layer with attention and KV head, slots that the sequences share, one for each position. A sequence is a list of slots, so that one may go on from where
// another stands (the beams of a search, the options of a question) without its keys being copied or kept twice.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/page_buffer.h"
#include "compress/model_description.h"
#include "kernels/attention.h"
#include "kernels/kv_rows.h"

namespace leafcutter::runtime {

// Bytes for one slot, all layers.
std::uint64_t kv_bytes_per_position(const compress::ModelDescription& model, kernels::KvType type);

struct KvShape {
  std::uint64_t slots = 0;          // of all sequences together
  std::uint64_t max_positions = 0;  // of one sequence
  std::size_t sequences = 1;
};

// What KvCache will allocate: keys, values and lists.
std::uint64_t kv_cache_bytes(const compress::ModelDescription& model, kernels::KvType type, const KvShape& shape);

// Not thread-safe as a whole; different rows may be stored by different threads at once.
class KvCache {
 public:
  // A layer's keys and values, wherever they lie: planes of keys and of values, in each a KV head after another, in each a slot after another.
  struct Layer {
    std::size_t offset = 0;  // of the keys; the values are a plane behind
    std::size_t plane = 0;   // bytes of keys, and of values
    std::size_t kv_heads = 0, head_dim = 0, row_bytes = 0;
    bool here = false;  // in this cache's own memory
    std::size_t head_bytes() const { return kv_heads > 0 ? plane / kv_heads : 0; }
    std::size_t bytes() const { return 2 * plane; }
  };

  // elsewhere: layers whose keys and values somebody else keeps, in memory of his own where their offsets count from 0 as well. Empty: none.
  KvCache(const compress::ModelDescription& model, kernels::KvType type, const KvShape& shape, const std::vector<bool>& elsewhere = {});

  kernels::KvType type() const { return type_; }
  std::uint64_t max_positions() const { return max_positions_; }
  std::uint64_t free_slots() const { return free_.size(); }

  // How many positions a sequence has.
  std::uint64_t positions(std::uint32_t sequence) const { return sequences_.at(sequence).slots.size(); }
  // One more position, of a token with this segment. There must be a free slot and room in the sequence: the caller has counted.
  void append(std::uint32_t sequence, std::uint8_t segment);
  void truncate(std::uint32_t sequence, std::uint64_t positions);  // forgets from there on
  void fork(std::span<const std::uint32_t> parents);               // sequence i becomes what sequence parents[i] was; slots are shared

  const Layer& layer(std::size_t layer) const { return layers_[layer]; }
  std::span<const std::uint32_t> slots(std::uint32_t sequence) const { return sequences_[sequence].slots; }
  std::span<const std::uint8_t> segments(std::uint32_t sequence) const { return sequences_[sequence].segments; }

  // Keys and values of one position that was appended, kv_heads * head_dim floats each, of a layer that is here.
  void store(std::size_t layer, std::uint32_t sequence, std::uint64_t position, const float* k, const float* v);

  // What attention reads, of a layer that is here, for a query at a position of a sequence that sees the first `visible` ones.
  kernels::AttentionRow row(std::size_t layer, std::uint32_t sequence, std::uint64_t position, std::uint64_t visible) const;

 private:
  struct Sequence {
    std::vector<std::uint32_t> slots;
    std::vector<std::uint8_t> segments;
  };

  kernels::KvType type_;
  std::size_t slots_;
  std::uint64_t max_positions_;
  std::vector<Layer> layers_;
  std::vector<Sequence> sequences_;
  std::vector<std::uint32_t> users_;  // sequences that have this slot
  std::vector<std::uint32_t> free_;   // the next to be taken is the last
  PageBuffer buffer_;
};

}  // namespace leafcutter::runtime
