#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/attention.h"

namespace leafcutter::kernels {

namespace {

double bias_of(const AttentionBias& bias, std::size_t head, const AttentionRow& row, std::size_t key) {
  const std::size_t column = bias.column ? bias.column[head] : head;
  if (row.segments[key] != row.segment) return bias.across[(row.segment * bias.segment_types + row.segments[key]) * bias.columns + column];
  const auto reach = static_cast<std::ptrdiff_t>(bias.reach), distance = static_cast<std::ptrdiff_t>(key - row.position);
  return (bias.by_distance + column * bias.distance_stride)[std::clamp(distance, -reach, reach)];
}

}  // namespace

void attention_reference(const AttentionArgs& a) {
  const std::size_t group = a.heads / a.kv_heads, row_bytes = kv_row_bytes(a.type, a.head_dim);
  std::vector<float> values(a.head_dim);
  for (std::size_t r = a.row_begin; r < a.row_end; r++)
    for (std::size_t h = a.head_begin; h < a.head_end; h++) {
      const AttentionRow& row = a.row[r];
      const std::size_t plane = h / group * row.head_stride;
      const float* q = a.q + r * a.q_stride + h * a.head_dim;
      std::vector<double> scores(row.visible), y(a.head_dim);
      double largest = -INFINITY, sum = 0;
      for (std::size_t j = 0; j < row.visible; j++) {
        kv_load_row(a.type, row.k + plane + (row.slots ? row.slots[j] : j) * row_bytes, a.head_dim, values.data());
        double dot = 0;
        for (std::size_t i = 0; i < a.head_dim; i++) dot += double{q[i]} * values[i];
        scores[j] = dot * a.scale + (a.bias ? bias_of(*a.bias, h, row, j) : 0);
        largest = std::max(largest, scores[j]);
      }
      for (std::size_t j = 0; j < row.visible; j++) {
        const double p = std::exp(scores[j] - largest);
        sum += p;
        kv_load_row(a.type, row.v + plane + (row.slots ? row.slots[j] : j) * row_bytes, a.head_dim, values.data());
        for (std::size_t i = 0; i < a.head_dim; i++) y[i] += p * values[i];
      }
      for (std::size_t i = 0; i < a.head_dim; i++) a.y[r * a.y_stride + h * a.head_dim + i] = sum > 0 ? static_cast<float>(y[i] / sum) : 0;
    }
}

}  // namespace leafcutter::kernels
