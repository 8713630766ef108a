// A checkpoint file to a .leaf file: what `compress` does, and `run` for a model that is no .leaf.
#pragma once

#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "compress/checkpoint_source.h"
#include "compress/compress_model.h"

namespace leafcutter::tools {

struct ConversionRequest {
  std::string input, output;
  compress::CheckpointOptions checkpoint;
  compress::CompressOptions options;
  std::size_t threads = 0;  // 0: all cores
};

struct ConversionReport {
  std::uint64_t source_bytes = 0, file_bytes = 0;
  double seconds = 0;
  std::vector<std::string> notes;
};

// Draws progress when stderr is a terminal. Throws Error; nothing is left behind then.
ConversionReport convert(const ConversionRequest& request, std::stop_token stop);

std::size_t all_cores();

}  // namespace leafcutter::tools
