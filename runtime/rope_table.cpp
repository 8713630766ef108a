#include "runtime/rope_table.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace leafcutter::runtime {
namespace {

using compress::RopeDescription;
using compress::RopeScaling;

void scale_linear(std::vector<float>& frequency, const RopeDescription& rope) {
  for (float& f : frequency) f /= static_cast<float>(rope.factor);
}

// Low frequencies are divided by the factor, high ones stay, between them a smooth way (Llama 3.1).
void scale_llama3(std::vector<float>& frequency, const RopeDescription& rope) {
  const double context = static_cast<double>(rope.original_context);
  const double low_wavelength = context / rope.low_freq_factor, high_wavelength = context / rope.high_freq_factor;
  for (float& f : frequency) {
    const double wavelength = 2 * std::numbers::pi / f;
    if (wavelength > low_wavelength) {
      f = static_cast<float>(f / rope.factor);
    } else if (wavelength >= high_wavelength) {
      const double smooth = (context / wavelength - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
      f = static_cast<float>((1 - smooth) * f / rope.factor + smooth * f);
    }
  }
}

// YaRN (Peng et al. 2023): a ramp over dimensions between interpolated and original frequencies.
void scale_yarn(std::vector<float>& frequency, const RopeDescription& rope, std::uint32_t dim) {
  const auto dimension_of = [&](double rotations) {
    return dim * std::log(static_cast<double>(rope.original_context) / (rotations * 2 * std::numbers::pi)) / (2 * std::log(rope.theta));
  };
  const double low = std::max(std::floor(dimension_of(rope.beta_fast)), 0.0);
  double high = std::min(std::ceil(dimension_of(rope.beta_slow)), dim - 1.0);
  if (low == high) high += 0.001;
  for (std::size_t i = 0; i < frequency.size(); i++) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    const double original = frequency[i];
    frequency[i] = static_cast<float>(original / rope.factor * ramp + original * (1 - ramp));
  }
}

}  // namespace

RopeTable rope_table(const RopeDescription& rope, std::uint32_t head_dim) {
  const std::uint32_t dim = rope.rotary_dim > 0 ? rope.rotary_dim : head_dim;
  RopeTable table;
  for (std::uint32_t i = 0; i < dim / 2; i++) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(dim);
    table.inverse_frequency.push_back(1.0f / std::pow(static_cast<float>(rope.theta), exponent));
  }
  switch (rope.scaling) {
    case RopeScaling::none:
      break;
    case RopeScaling::linear:
      scale_linear(table.inverse_frequency, rope);
      break;
    case RopeScaling::llama3:
      scale_llama3(table.inverse_frequency, rope);
      break;
    case RopeScaling::yarn:
      scale_yarn(table.inverse_frequency, rope, dim);
      table.attention_factor = static_cast<float>(rope.attention_factor > 0 ? rope.attention_factor
                                                  : rope.factor > 1         ? 0.1 * std::log(rope.factor) + 1
                                                                            : 1);
      break;
  }
  for (std::size_t i = 0; i < std::min(rope.frequency_factors.size(), table.inverse_frequency.size()); i++)
    table.inverse_frequency[i] /= rope.frequency_factors[i];
  return table;
}

}  // namespace leafcutter::runtime
