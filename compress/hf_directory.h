// A Hugging Face folder: config.json, safetensors or PyTorch files (one file or shards with an index), tokenizer files.
#pragma once

#include <nlohmann/json.hpp>

#include "compress/checkpoint_source.h"
#include "compress/weight_files.h"

namespace leafcutter::compress {

// LLaMA-type models. config: the content of weights.config. Reads headers and small files only.
CheckpointSource open_hf_directory(const WeightFiles& weights, const nlohmann::json& config);

}  // namespace leafcutter::compress
