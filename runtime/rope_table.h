// Inverse frequencies of a model's rotary embedding, with its scaling.
#pragma once

#include <cstdint>
#include <vector>

#include "compress/model_description.h"

namespace leafcutter::runtime {

struct RopeTable {
  std::vector<float> inverse_frequency;  // rotary_dim / 2
  float attention_factor = 1;            // multiplies cos and sin (yarn)
};

// For heads of head_dim. Computed in fp32 in the order of the reference implementation (transformers), so that angles agree to the bit where it matters.
RopeTable rope_table(const compress::RopeDescription& rope, std::uint32_t head_dim);

}  // namespace leafcutter::runtime
