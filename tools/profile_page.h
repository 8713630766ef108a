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

// Of a report: "7.80 predicted (+3.1 %)", where there is a prediction; on a device it is the card's.
std::string predicted_speed(const nlohmann::ordered_json& report);
// "peak 2.90 GiB (cgroup), 2.95 GiB predicted"; the memory of an emulated device is this process's as well, and named.
std::string predicted_peak(const nlohmann::ordered_json& report);

}  // namespace leafcutter::tools
