// The configuration of a CPM-Ant checkpoint: CPM-Live's json beside the weights, or Hugging Face's config.json with old or new keys. Text in, facts out; no I/O.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "compress/model_description.h"

namespace leafcutter::compress {

struct CpmAntConfig {
  bool live =
      true;  // CPM-Live's: weights are unscaled, each product is divided by the root of its inputs. Else Hugging Face's: scaled already
  std::uint32_t dim = 0, vocab_size = 0, layers = 0;
  std::uint32_t heads = 0, head_dim = 0, ff_width = 0;  // of a layer that nothing was cut from
  SegmentBiasDescription segment_bias;                  // columns: heads
  float norm_epsilon = 1e-6f;
  struct Removed {
    bool attention = false, feed_forward = false;
  };
  std::optional<std::vector<Removed>> removed;  // mask_modules: one for each layer; none: it says nothing
  std::vector<std::uint32_t> end_ids;
  std::uint32_t begin_id = 0;
};

// CPM-Live's says so by its fields, having no model_type; Hugging Face's by model_type.
bool is_cpm_ant_config(const nlohmann::json& config);

// Throws Error(bad_file) naming the field, what was found and what is allowed.
CpmAntConfig cpm_ant_config(const nlohmann::json& config, const std::string& file);

// The field mask_modules of an object: a pair of true (removed) and false for each layer. None: it has no such field.
std::optional<std::vector<CpmAntConfig::Removed>> removed_parts(const nlohmann::json& object, std::uint32_t layers,
                                                                const std::string& file);

}  // namespace leafcutter::compress
