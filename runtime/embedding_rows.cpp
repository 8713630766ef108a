#include "runtime/embedding_rows.h"

#include <algorithm>

#include "compress/leaf_reader.h"
#include "runtime/row_pieces.h"

namespace leafcutter::runtime {

EmbeddingRows::EmbeddingRows(const compress::LeafIndex& index, ChunkHolder& chunks, File& file, ThreadTeam& team, kernels::Isa isa)
    : index_(index),
      chunks_(chunks),
      file_(file),
      team_(team),
      add_(kernels::add_in_place_kernel(isa)),
      segments_(index.model.position == compress::PositionKind::segment_relative_bias),
      scratch_(team.size()) {
  // Which thread reads a row is chance: each has what it may need from the beginning.
  const compress::ModuleEntry& table = index.modules.front();
  std::size_t strip = 0;
  for (std::uint32_t chunk = table.first_chunk; chunk < table.first_chunk + table.chunk_count && strip == 0; chunk++)
    if (!chunks.is_resident(chunk))
      for (const compress::TensorEntry& t : index.tensors)
        if (t.module == 0) strip = std::max(strip, compress::embedding_scratch_bytes(t));
  for (ThreadScratch& scratch : scratch_) {
    scratch.strip.resize(strip);
    if (segments_) scratch.row.resize(index.model.dim);
  }
}

void EmbeddingRows::look_up(std::span<const StepRow> rows, float* out) {
  using enum compress::TensorRole;
  const std::size_t dim = index_.model.dim;
  by_rows(team_, rows.size(), 8, [&](std::size_t begin, std::size_t end, std::size_t thread) {
    ThreadScratch& scratch = scratch_[thread];
    for (std::size_t r = begin; r < end; r++) {
      read(rows[r].prompt_slot ? prompt_embedding : embedding, rows[r].id, scratch, out + r * dim);
      if (!segments_) continue;
      read(segment_embedding, rows[r].segment, scratch, scratch.row.data());
      add_(out + r * dim, scratch.row.data(), dim);
    }
  });
}

void EmbeddingRows::read(compress::TensorRole table, std::uint64_t row, ThreadScratch& scratch, float* out) {
  const compress::TensorEntry& tensor = *index_.find(table);
  const std::span<const std::byte> blob =
      row < tensor.rows ? chunks_.resident(compress::chunk_of_embedding_row(index_, tensor, row)) : std::span<const std::byte>();
  if (blob.empty())
    compress::read_embedding_row(file_, index_, row, scratch.strip, out, table);
  else
    compress::decode_embedding_row(index_, tensor, row, blob, out);
  const float divisor = tensor.divisor;
  for (std::size_t i = 0; i < index_.model.dim && divisor != 1; i++) out[i] /= divisor;
}

}  // namespace leafcutter::runtime
