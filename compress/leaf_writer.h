// Writing .leaf files, module after module, never holding more than some chunks.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <span>

#include "base/file.h"
#include "base/thread_team.h"
#include "compress/leaf_index.h"

namespace leafcutter::compress {

// What a writer needs to know before the first byte: shapes and formats of all tensors in order of execution.
struct TensorPlan {
  TensorRole role{};
  std::uint32_t layer = 0;
  quant::FormatId format{};
  std::uint64_t rows = 0, k = 0;
  float divisor = 1;
};

struct LeafWriterOptions {
  std::uint64_t chunk_bytes = kMaxChunkBytes;  // 64 to kMaxChunkBytes; a chunk holds at least one strip
  Codec codec = Codec::none;                   // zstd: a chunk that does not shrink is stored as it is; the embedding module always is
  int zstd_level = 3;                          // 1 to 9: an encoder takes up to 12 MiB for each thread
};

// Rows of a plain tensor (a vector, or a table that is read as one) that are filled together: about 1 MiB.
constexpr std::uint64_t rows_of_plain_piece(std::uint64_t k) { return std::max<std::uint64_t>(1, (std::uint64_t{256} << 10) / k); }

// Fills strips [begin, end) of tensor `index` of the plan; of a plain one pieces of rows_of_plain_piece rows, one in a call and in order; zeros behind the last row may stay. Called from several threads at
// once, for any strips, each once.
using FillStrips = std::function<void(std::size_t tensor, std::uint64_t begin, std::uint64_t end, std::span<std::byte> out)>;
// After each chunk: bytes of blob done and in all. May throw Error(cancelled) to stop.
using WriteProgress = std::function<void(std::uint64_t done, std::uint64_t total)>;

// Orders `tensors` into modules, lays out the file, fills chunks in parallel, writes them in order (the chunks before while the next are filled), then index, tokenizer and
// header, and commits. The bytes depend on the input alone, not on threads. Memory: 32 to 128 MiB of chunks, twice that with a codec. On any error nothing is left behind.
void write_leaf(NewFile& file, const ModelDescription& model, std::span<const TensorPlan> tensors,
                std::span<const std::byte> tokenizer_section, const LeafWriterOptions& options, const FillStrips& fill, ThreadTeam& team,
                const WriteProgress& progress);

// Throws Error(usage | unsupported | bad_file) naming the tensor: missing, twice, wrong shape, a strip above kMaxChunkBytes, an unknown format.
//
// The layout alone: index without hashes and stored sizes (as with Codec::none). What `plan` works on for checkpoints and shapes.
LeafIndex lay_out_leaf(const ModelDescription& model, std::span<const TensorPlan> tensors, std::uint64_t chunk_bytes = kMaxChunkBytes);

}  // namespace leafcutter::compress
