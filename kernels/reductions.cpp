#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/elementwise.h"

namespace leafcutter::kernels {
namespace {

// Larger first, ties to the smaller index; NaN counts as smaller than everything.
float key_of(float value) { return std::isnan(value) ? -std::numeric_limits<float>::infinity() : value; }
bool before(const Ranked& a, const Ranked& b) { return a.value != b.value ? a.value > b.value : a.index < b.index; }

}  // namespace

std::size_t arg_max(std::span<const float> values) {
  std::size_t best = 0;
  for (std::size_t i = 1; i < values.size(); i++)
    if (key_of(values[i]) > key_of(values[best])) best = i;
  return best;
}

double log_sum_exp(std::span<const float> values) {
  double largest = -std::numeric_limits<double>::infinity();
  for (const float v : values) largest = std::max(largest, double{key_of(v)});
  if (!std::isfinite(largest)) return largest;
  double sum = 0;
  for (const float v : values) sum += std::exp(key_of(v) - largest);
  return largest + std::log(sum);
}

std::size_t top_k(std::span<const float> values, std::span<Ranked> out) {
  const std::size_t k = std::min(values.size(), out.size());
  if (k == 0) return 0;
  // A heap whose front is the worst of the best so far.
  std::size_t filled = 0;
  for (std::uint32_t i = 0; i < values.size(); i++) {
    const Ranked candidate{i, key_of(values[i])};
    if (filled < k) {
      out[filled++] = candidate;
      std::push_heap(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(filled), before);
    } else if (before(candidate, out[0])) {
      std::pop_heap(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(k), before);
      out[k - 1] = candidate;
      std::push_heap(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(k), before);
    }
  }
  std::sort_heap(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(k), before);
  for (Ranked& ranked : out.first(k)) ranked.value = values[ranked.index];
  return k;
}

}  // namespace leafcutter::kernels
