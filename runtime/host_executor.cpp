#include "runtime/host_executor.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/rope.h"
#include "runtime/row_pieces.h"

namespace leafcutter::runtime {
namespace {

// Query rows of one piece of attention: as many as share a turned block of keys, fewer where threads would be left without a piece.
constexpr std::size_t kMostAttentionRows = 128, kLeastAttentionRows = 16, kPiecesPerThread = 4;

}  // namespace

HostExecutor::HostExecutor(const HostContext& context)
    : c_(context),
      embedding_(c_.index, c_.chunks, c_.embedding_file, c_.team, c_.isa),
      products_(c_.work, c_.team, c_.isa),
      rms_norm_(kernels::rms_norm_kernel(c_.isa)),
      gated_(kernels::gated_activation_kernel(c_.isa)),
      add_(kernels::add_in_place_kernel(c_.isa)),
      attention_(kernels::attention_kernel(c_.isa)),
      gate_(gate_of(c_.index.model.activation)) {}

void HostExecutor::begin(std::span<const StepRow> rows, const StepLogits& logits) {
  rows_ = rows;
  logits_ = logits;
  embedding_.look_up(rows, c_.work.hidden);
  make_angles();
  context_.count(rows);
}

void HostExecutor::make_angles() {
  if (c_.index.model.position != compress::PositionKind::rope_half) return;
  const std::size_t half = c_.rope.inverse_frequency.size();
  by_rows(c_.team, rows_.size(), 32, [&](std::size_t begin, std::size_t end, std::size_t) {
    for (std::size_t r = begin; r < end; r++)
      kernels::rope_angles(rows_[r].position, c_.rope.inverse_frequency, c_.rope.attention_factor, c_.work.cos + r * half,
                           c_.work.sin + r * half);
  });
}

void HostExecutor::norm(const float* weight, RowBuffer output, Block block) {
  const std::size_t dim = c_.work.widths.dim;
  const float* x = hidden(block.begin);
  float* y = output == RowBuffer::hidden ? hidden(block.begin) : buffer(output);
  by_rows(c_.team, block.rows(), 16, [&](std::size_t begin, std::size_t end, std::size_t) {
    rms_norm_({x + begin * dim, weight, y + begin * dim, end - begin, dim, dim, dim, c_.index.model.norm_epsilon});
  });
}

void HostExecutor::add(Block block) {
  const std::size_t dim = c_.work.widths.dim;
  float* x = hidden(block.begin);
  by_rows(c_.team, block.rows(), 32, [&](std::size_t begin, std::size_t end, std::size_t) {
    add_(x + begin * dim, c_.work.projected + begin * dim, (end - begin) * dim);
  });
}

void HostExecutor::activate(std::size_t width, std::size_t rows) {
  by_rows(c_.team, rows, 8, [&](std::size_t begin, std::size_t end, std::size_t) {
    gated_(gate_, c_.work.gate + begin * width, c_.work.up + begin * width, (end - begin) * width);
  });
}

std::size_t HostExecutor::choose_wanted() {
  wanted_ = 0;
  for (std::size_t r = 0; r < rows_.size(); r++)
    if (rows_[r].wants_logits) std::memmove(hidden(wanted_++), hidden(r), c_.work.widths.dim * sizeof(float));
  return wanted_;
}

void HostExecutor::end() {
  const std::size_t vocabulary = c_.index.model.vocab_size, k = logits_.best_a_row;
  if (k == 0) return;
  for (std::size_t r = 0; r < wanted_; r++)
    kernels::top_k(logits_.all.subspan(r * vocabulary, std::min<std::size_t>(vocabulary, logits_.best_below)),
                   logits_.best.subspan(r * k, k));
}

void HostExecutor::multiply(const compress::ModuleEntry& module, std::span<const Product> products, RowBuffer input, std::size_t rows,
                            AfterUse after) {
  const compress::TensorEntry& first = *products.front().matrix->tensor;
  const compress::TensorEntry& last = *products.back().matrix->tensor;
  products_.begin(buffer(input), first.k, rows);
  // Chunks that are there wait for each other, so that the threads meet once for all of them; one that comes from disk is used, and given back, at once.
  c_.chunks.for_each(
      module, first.offset, last.offset + last.bytes, after,
      [&](const compress::ChunkEntry& chunk, std::span<const std::byte> blob) {
        for (const Product& product : products)
          products_.add(*product.matrix, buffer(product.output), strips_in(*product.matrix->tensor, chunk), blob);
      },
      [&] { products_.run(); });
}

void HostExecutor::store_keys(std::size_t layer, Block block) {
  Workspace& work = c_.work;
  const compress::LayerDescription& d = c_.index.model.layers[layer];
  const bool rope = c_.index.model.position == compress::PositionKind::rope_half;
  const std::size_t kv = std::size_t{d.kv_heads} * d.head_dim, half = c_.rope.inverse_frequency.size();
  by_rows(c_.team, block.rows(), 16, [&](std::size_t begin, std::size_t end, std::size_t) {
    for (std::size_t i = begin; i < end; i++) {
      const std::size_t r = block.begin + i;
      if (rope) kernels::rope_apply(work.k + i * kv, d.kv_heads, d.head_dim, half, work.cos + r * half, work.sin + r * half);
      c_.cache.store(layer, rows_[r].sequence, rows_[r].position, work.k + i * kv, work.v + i * kv);
    }
  });
}

void HostExecutor::attend(std::size_t layer, Block block) {
  Workspace& work = c_.work;
  const compress::LayerDescription& d = c_.index.model.layers[layer];
  const bool rope = c_.index.model.position == compress::PositionKind::rope_half;
  const std::size_t heads = std::size_t{d.heads} * d.head_dim, half = c_.rope.inverse_frequency.size();
  by_rows(c_.team, block.rows(), 16, [&](std::size_t begin, std::size_t end, std::size_t) {
    for (std::size_t i = begin; i < end; i++) {
      const std::size_t r = block.begin + i;
      const StepRow& row = rows_[r];
      if (rope) kernels::rope_apply(work.q + i * heads, d.heads, d.head_dim, half, work.cos + r * half, work.sin + r * half);
      work.attention[i] = c_.cache.row(layer, row.sequence, row.position, context_.of(row));
    }
  });

  kernels::AttentionBias bias{};
  if (!c_.bias.empty()) bias = c_.bias.of_layer(d);
  kernels::AttentionArgs args{};
  args.type = c_.cache.type();
  args.heads = d.heads;
  args.kv_heads = d.kv_heads;
  args.head_dim = d.head_dim;
  args.scale = 1 / std::sqrt(static_cast<float>(d.head_dim));
  args.q = work.q;
  args.q_stride = heads;
  args.row = work.attention;
  args.rows = block.rows();
  args.y = work.context;
  args.y_stride = heads;
  args.bias = c_.bias.empty() ? nullptr : &bias;
  const auto pieces_of = [&](std::size_t each) { return (block.rows() + each - 1) / each; };
  std::size_t rows_a_piece = kMostAttentionRows;
  while (rows_a_piece > kLeastAttentionRows && d.kv_heads * pieces_of(rows_a_piece) < kPiecesPerThread * c_.team.size()) rows_a_piece /= 2;
  const std::size_t group = d.heads / d.kv_heads, pieces = pieces_of(rows_a_piece);
  rows_a_piece = (block.rows() + pieces - 1) / pieces;  // alike: a short last one would turn all keys for a few rows
  c_.team.run(d.kv_heads * pieces, [&](std::size_t piece, std::size_t thread) {
    kernels::AttentionArgs part = args;
    const std::size_t head = piece / pieces, at = pieces - 1 - piece % pieces;  // a head's keys stay in the caches; its longest piece first
    part.head_begin = head * group;
    part.head_end = part.head_begin + group;
    part.row_begin = at * rows_a_piece;
    part.row_end = std::min(block.rows(), part.row_begin + rows_a_piece);
    part.scratch = work.scratch(thread);
    attention_(part);
  });
}

}  // namespace leafcutter::runtime
