// What BMCook's structured pruning says about a checkpoint that it cut: the side file CHECKPOINT.cnofig.json, and the masks that it was cut with.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "compress/cpm_ant_config.h"
#include "compress/weight_files.h"

namespace leafcutter::compress {

// Lists have one entry for each layer of the model; an entry that the file says nothing about is empty.
struct CpmAntSideFile {
  std::vector<CpmAntConfig::Removed> removed;
  std::vector<std::optional<std::uint32_t>> heads, head_dim, ff_width;  // of the cut model
};

struct CpmAntMasks {
  std::vector<std::vector<std::uint16_t>> kept_heads;   // of each layer with a row in the mask; empty: no row
  std::uint32_t heads = 0, head_dim = 0, ff_width = 0;  // of the uncut model; 0: there is no such mask
};

// Two forms are known: `att` and `ffn` as maps of removed modules, or `mask_modules` as pairs; `num_heads`, `dim_head`, `dim_ff` have a number for each module of the uncut model.
// Where that model had no part in some layers (config.removed), modules are counted without those. Throws Error(bad_file) naming file and field.
CpmAntSideFile cpm_ant_side_file(const nlohmann::json& side, const CpmAntConfig& config, const std::string& file);

// masks.pt: zeros and ones, a row for each module of the uncut model. Throws Error(bad_file | io) naming file and tensor.
CpmAntMasks cpm_ant_masks(const ListedWeights& masks, const CpmAntConfig& config);

}  // namespace leafcutter::compress
