// What was measured of this machine and is kept from one run to the next: one JSON object in the cache folder, rates.json.
#pragma once

#include <nlohmann/json.hpp>

namespace leafcutter::tools {

// Empty where there is none, or none that can be read. Anything may have been written into it: check what is in it.
nlohmann::json read_cache();

// Replaces it. One that cannot be written is as if there were none: then it is measured again next time.
void write_cache(const nlohmann::json& all);

// A positive, finite number of this name; 0: there is none.
double positive_in(const nlohmann::json& object, const char* name);

}  // namespace leafcutter::tools
