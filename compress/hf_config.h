// config.json of a Hugging Face folder to a model description (transformers' LlamaConfig). Text in, facts out; no I/O.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "compress/model_description.h"

namespace leafcutter::compress {

// tied_head as the config says; end_ids and begin_id are not set: the tokenizer knows better (hf_special_ids.h). Not validated as a whole yet.
// Throws Error(unsupported) for architectures, activations and rope scalings that are not served, by name; Error(bad_file) for fields that cannot be.
ModelDescription llama_from_hf_config(const nlohmann::json& config, const std::string& file);

}  // namespace leafcutter::compress
