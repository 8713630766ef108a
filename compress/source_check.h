// Does a checkpoint hold what its description asks for?
#pragma once

#include "compress/checkpoint_source.h"

namespace leafcutter::compress {

// Every expected tensor is there once with its shape; what no layer asks for is an error. Throws Error(bad_file) naming file, tensor, expected, found. O(n log n).
void check_source_tensors(const CheckpointSource& source, const std::string& file);

}  // namespace leafcutter::compress
