#include "runtime/position_bias.h"

#include <algorithm>
#include <cmath>

namespace leafcutter::runtime {
namespace {

// Distances past this one share a bucket or do not occur.
std::uint64_t last_distance(const compress::SegmentBiasDescription& d, std::uint64_t max_positions) {
  return std::min<std::uint64_t>(d.max_distance, max_positions);
}

std::uint64_t width_of(const compress::SegmentBiasDescription& d, std::uint64_t max_positions) {
  return 2 * (last_distance(d, max_positions) + kernels::kBiasMargin) + 1;
}

}  // namespace

std::uint32_t distance_bucket(std::int64_t distance, std::uint32_t buckets, std::uint32_t max_distance) {
  const std::uint32_t half = buckets / 2, exact = buckets / 4;
  const std::uint32_t base = distance > 0 ? half : 0;
  const auto n = static_cast<std::uint64_t>(std::abs(distance));
  if (n < exact) return base + static_cast<std::uint32_t>(n);
  const double part = std::log(static_cast<double>(n) / exact) / std::log(static_cast<double>(max_distance) / exact);
  const double bucket = exact + std::trunc(part * (half - exact));
  return base + static_cast<std::uint32_t>(std::min<double>(bucket, half - 1));
}

std::uint64_t position_bias_bytes(const compress::SegmentBiasDescription& d, std::uint64_t max_positions) {
  return width_of(d, max_positions) * d.columns * sizeof(float);
}

PositionBias::PositionBias(const compress::SegmentBiasDescription& d, const float* table, std::uint64_t max_positions)
    : buffer_(position_bias_bytes(d, max_positions), "position bias") {
  const auto last = static_cast<std::int64_t>(last_distance(d, max_positions));
  const auto reach = last + static_cast<std::int64_t>(kernels::kBiasMargin);
  const std::size_t stride = width_of(d, max_positions);
  auto* zero = reinterpret_cast<float*>(buffer_.data()) + reach;
  for (std::int64_t distance = -reach; distance <= reach; distance++) {
    const float* row = table + std::size_t{distance_bucket(std::clamp(distance, -last, last), d.buckets, d.max_distance)} * d.columns;
    for (std::size_t column = 0; column < d.columns; column++) zero[static_cast<std::ptrdiff_t>(column * stride) + distance] = row[column];
  }
  all_ = {zero, stride, static_cast<std::size_t>(reach), table + std::size_t{d.buckets} * d.columns, d.segment_types, d.columns, nullptr};
}

kernels::AttentionBias PositionBias::of_layer(const compress::LayerDescription& layer) const {
  kernels::AttentionBias bias = all_;
  if (!layer.bias_columns.empty()) bias.column = layer.bias_columns.data();
  return bias;
}

}  // namespace leafcutter::runtime
