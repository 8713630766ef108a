// CPM-Ant's shared position bias, spread out by distance so that attention reads slices of it.
#pragma once

#include <cstdint>
#include <span>

#include "base/page_buffer.h"
#include "compress/model_description.h"
#include "kernels/attention.h"

namespace leafcutter::runtime {

// Of `distance` = key's position - query's, as T5 counts (Raffel et al. 2020): exact up to a quarter of the buckets, then by logarithm up to max_distance; the upper half is for keys behind the query.
std::uint32_t distance_bucket(std::int64_t distance, std::uint32_t buckets, std::uint32_t max_distance);

std::uint64_t position_bias_bytes(const compress::SegmentBiasDescription& description, std::uint64_t max_positions);

class PositionBias {
 public:
  PositionBias() = default;  // none
  // table: the tensor position_bias, [buckets + segment_types^2][columns], which must outlive this.
  PositionBias(const compress::SegmentBiasDescription& description, const float* table, std::uint64_t max_positions);

  // For the heads of a layer; the result points into this and the layer's description.
  kernels::AttentionBias of_layer(const compress::LayerDescription& layer) const;
  // Columns by distance, side by side: what of_layer().by_distance points into, reach floats behind its beginning.
  std::span<const std::byte> table() const { return buffer_.bytes(); }
  bool empty() const { return buffer_.size() == 0; }

 private:
  PageBuffer buffer_;
  kernels::AttentionBias all_{};
};

}  // namespace leafcutter::runtime
