// Looks the rows of a pass up in the tables of embeddings: in memory where a table is resident, from disk, with its tiles' hashes, where it is not.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "base/file.h"
#include "base/thread_team.h"
#include "compress/leaf_index.h"
#include "kernels/elementwise.h"
#include "runtime/chunk_holder.h"
#include "runtime/model.h"

namespace leafcutter::runtime {

// One call at a time. What it refers to must outlive it.
class EmbeddingRows {
 public:
  EmbeddingRows(const compress::LeafIndex& index, ChunkHolder& chunks, File& file, ThreadTeam& team, kernels::Isa isa);

  // Row r of the pass to out + r * dim: the row of its token or prompt slot and, for CPM-Ant, that of its segment, each divided by its tensor's divisor. Throws Error(io | bad_file).
  void look_up(std::span<const StepRow> rows, float* out);

 private:
  struct ThreadScratch {
    std::vector<std::byte> strip;
    std::vector<float> row;
  };
  void read(compress::TensorRole table, std::uint64_t row, ThreadScratch& scratch, float* out);

  const compress::LeafIndex& index_;
  ChunkHolder& chunks_;
  File& file_;
  ThreadTeam& team_;
  kernels::AddInPlace add_;
  bool segments_;
  std::vector<ThreadScratch> scratch_;
};

}  // namespace leafcutter::runtime
