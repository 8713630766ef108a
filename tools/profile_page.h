// The page of `profile`: one self-contained HTML file with timeline, busy shares, stalls, memory and predicted beside measured.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "compress/leaf_index.h"
#include "tools/recording.h"

namespace leafcutter::tools {

// report: what `profile --json` prints (model, budget, tokens_per_s, predicted, phases, ...). Throws Error(io).
void write_profile_page(const std::string& path, const nlohmann::ordered_json& report, const Recording& recording,
                        const compress::LeafIndex& index);

}  // namespace leafcutter::tools
