// What the user called MODEL: a .leaf as it is, or a checkpoint (.gguf, directory), which is converted once into the cache.
#pragma once

#include <stop_token>
#include <string>

#include "tools/console.h"

namespace leafcutter::tools {

// Path of a .leaf. A checkpoint is compressed to q4 into the cache folder (LEAFCUTTER_CACHE, else XDG_CACHE_HOME/leafcutter, else ~/.cache/leafcutter) unless a conversion of the same
// files, none of them changed since, is there; `notes` says so. Throws Error(not_found) when there is no such file.
std::string resolve_model(const std::string& model, Notes& notes, std::stop_token stop);

std::string cache_folder();

}  // namespace leafcutter::tools
