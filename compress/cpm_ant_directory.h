// CPM-Ant checkpoints on disk: a folder, or its weights file, in CPM-Live's or Hugging Face's form.
#pragma once

#include <nlohmann/json.hpp>

#include "compress/checkpoint_source.h"
#include "compress/weight_files.h"

namespace leafcutter::compress {

// config: the content of weights.config, CPM-Ant's (is_cpm_ant_config). Beside the weights, if BMCook cut the model: <weights>.cnofig.json and masks.pt; ant.txt or vocab.txt.
// Throws Error naming file, tensor or field.
CheckpointSource open_cpm_ant(const WeightFiles& weights, const nlohmann::json& config, const CheckpointOptions& options);

}  // namespace leafcutter::compress
