// A Hugging Face folder: config.json, safetensors or PyTorch files (one file or shards with an index), tokenizer files.
#pragma once

#include <string>

#include "compress/checkpoint_source.h"

namespace leafcutter::compress {

// folder: the folder, or the one .safetensors, .pt or .bin file whose folder has the config. Reads headers and small files only.
CheckpointSource open_hf_directory(const std::string& folder);

}  // namespace leafcutter::compress
