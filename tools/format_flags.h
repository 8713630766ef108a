// --format and its kin, for compress, synth and plan.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "compress/compress_model.h"

namespace leafcutter::tools {

// Adds --format, --head-format, --embedding-format. `keep`: is "keep" one of the formats?
void add_format_flags(CLI::App& app, compress::FormatChoice& formats, bool keep);

// --codec, --zstd-level, --chunk-size.
void add_writer_flags(CLI::App& app, compress::LeafWriterOptions& options);

}  // namespace leafcutter::tools
