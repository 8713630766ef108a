// Models for the tests of the runtime: the tiny reference checkpoints, compressed into a temporary folder.
#pragma once

#include <memory>
#include <string>

#include "compress/compress_model.h"
#include "runtime/model.h"
#include "tests/support/small_llama.h"

namespace leafcutter::testing {

inline std::string reference_folder() { return std::string(LEAFCUTTER_SOURCE_DIR) + "/tests/reference/llama"; }
inline std::string ant_reference_folder() { return std::string(LEAFCUTTER_SOURCE_DIR) + "/tests/reference/cpm_ant"; }

inline std::string compress_to(const std::string& source, const std::string& target, const compress::CompressOptions& options) {
  const compress::CheckpointSource checkpoint = compress::open_checkpoint(source);
  const auto file = create_file(target);
  ThreadTeam team(2);
  compress::compress_model(checkpoint, options, *file, team, {});
  return target;
}

inline compress::CompressOptions in_format(quant::FormatId format, std::uint64_t chunk_bytes = 0,
                                           compress::Codec codec = compress::Codec::none) {
  compress::CompressOptions options;
  options.formats.body = format;
  options.formats.embedding = options.formats.head = format;
  options.writer.chunk_bytes = chunk_bytes;
  options.writer.codec = codec;
  return options;
}

// Random weights large enough that a budget can hold some of them and not others: 3 MB in q4. `chunk_bytes` small makes many chunks.
inline std::string synthesize_to(const std::string& target, const compress::CompressOptions& options) {
  const compress::ModelDescription model = test::describe({.ff_width = 1100});
  const auto file = create_file(target);
  ThreadTeam team(2);
  compress::synthesize_model(model, options.formats, 1, options.writer, *file, team, {});
  return target;
}

}  // namespace leafcutter::testing
