// CPM-Ant checkpoints on disk: a folder, or its weights file, in CPM-Live's or Hugging Face's form.
#pragma once

#include <optional>
#include <string>

#include "compress/checkpoint_source.h"

namespace leafcutter::compress {

// path: a folder, or a .pt, .bin or .safetensors file. The config is config.json beside it, else <weights' stem>.json. None: no config there is CPM-Ant's (it may be another importer's).
// Weights of a folder: model.safetensors, pytorch_model.bin (or their index.json), else the .pt or .bin that is there. Beside them, if BMCook cut the model: <weights>.cnofig.json and masks.pt.
// Throws Error naming file, tensor or field.
std::optional<CheckpointSource> open_cpm_ant(const std::string& path, const CheckpointOptions& options);

}  // namespace leafcutter::compress
