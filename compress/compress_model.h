// A checkpoint to a .leaf: reads rows, quantizes strips on all cores, writes chunk after chunk. Never holds a tensor in memory: below 300 MiB for any model.
#pragma once

#include <optional>

#include "base/thread_team.h"
#include "compress/checkpoint_source.h"
#include "compress/leaf_writer.h"

namespace leafcutter::compress {

struct FormatChoice {
  quant::FormatId body = quant::FormatId::q4;
  std::optional<quant::FormatId> embedding;  // none: see default_formats
  std::optional<quant::FormatId> head;       // of a tied model: both are the embedding's, which may be named by either flag
  bool keep = false;  // exact: float types as they are, Q8_0, Q4_0, Q4_1 without rounding; everything above is then ignored
};

struct CompressOptions {
  FormatChoice formats;
  LeafWriterOptions writer = {.chunk_bytes = 0};  // 0: suitable_chunk_bytes
  bool allow_nonfinite = false;  // NaN and infinities: kept in float formats, 0 in quantized ones; otherwise an error that names the first
};

// The format of a matrix with this role. Defaults where nothing is named: head as the body; the embedding of an untied model (read a row a token) q8 for quantized bodies.
quant::FormatId format_for(const FormatChoice& formats, TensorRole role, bool tied_head);

// The plan of a source in these formats. Throws Error(unsupported) for `keep` where a type has no exact format, naming the tensor.
std::vector<TensorPlan> plan_tensors(const CheckpointSource& source, const FormatChoice& formats);

// Bytes of a chunk that suit a model of this size: 4 MiB, as disks like it, less for small models, whose ring for streaming would otherwise take more of a tight budget than their weights.
std::uint64_t suitable_chunk_bytes(const ModelDescription& model, std::span<const TensorPlan> plan);

// Throws Error(bad_file | io | unsupported) naming file, tensor, row and column; nothing is left behind.
void compress_model(const CheckpointSource& source, const CompressOptions& options, NewFile& file, ThreadTeam& team,
                    const WriteProgress& progress);

}  // namespace leafcutter::compress
