#include "runtime/step_runner.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "compress/leaf_reader.h"
#include "kernels/elementwise.h"
#include "kernels/rope.h"
#include "offload/trace.h"

namespace leafcutter::runtime {
namespace {

using offload::TraceKind;

kernels::Gate gate_of(compress::ActivationKind kind) {
  switch (kind) {
    case compress::ActivationKind::gelu_erf:
      return kernels::Gate::gelu_erf;
    case compress::ActivationKind::gelu_tanh:
      return kernels::Gate::gelu_tanh;
    case compress::ActivationKind::silu:
      break;
  }
  return kernels::Gate::silu;
}

// A piece of a product moves about this many bytes of weights, or does this many multiplications: some tens of microseconds either way, so that handing it out costs little
// and a thread that loses its core holds little. Strips come in pairs: kernels for many rows work on two at once.
constexpr std::uint64_t kPieceBytes = 128 << 10;
constexpr std::uint64_t kPieceOperations = 64 << 20;
constexpr std::size_t kRowsInParallel = 4;  // fewer rows are not worth waking a thread for norms and the like
// Query rows of one piece of attention: as many as share a turned block of keys, fewer where threads would be left without a piece.
constexpr std::size_t kMostAttentionRows = 128, kLeastAttentionRows = 16, kPiecesPerThread = 4;

}  // namespace

StepRunner::StepRunner(const StepContext& context)
    : c_(context),
      rms_norm_(kernels::rms_norm_kernel(c_.isa)),
      gated_(kernels::gated_activation_kernel(c_.isa)),
      add_(kernels::add_in_place_kernel(c_.isa)),
      attention_(kernels::attention_kernel(c_.isa)),
      quantize_(kernels::quantize_rows_kernel(c_.isa)),
      gate_(gate_of(c_.index.model.activation)),
      embedding_scratch_(c_.team.size()) {
  // Which thread reads a row is chance: each has what it may need from the beginning.
  const compress::ModuleEntry& table = c_.index.modules.front();
  std::size_t strip = 0;
  for (std::uint32_t chunk = table.first_chunk; chunk < table.first_chunk + table.chunk_count && strip == 0; chunk++)
    if (!c_.chunks.is_resident(chunk))
      for (const compress::TensorEntry& t : c_.index.tensors)
        if (t.module == 0) strip = std::max(strip, compress::embedding_scratch_bytes(t));
  for (ThreadScratch& scratch : embedding_scratch_) {
    scratch.strip.resize(strip);
    if (c_.index.model.position == compress::PositionKind::segment_relative_bias) scratch.row.resize(c_.work.widths.dim);
  }
}

template <class Work>
void StepRunner::by_rows(std::size_t rows, std::size_t rows_a_piece, Work&& work) {
  if (rows < kRowsInParallel) return work(std::size_t{0}, rows, std::size_t{0});
  const std::size_t pieces = (rows + rows_a_piece - 1) / rows_a_piece;
  c_.team.run(pieces, [&](std::size_t piece, std::size_t thread) {
    work(piece * rows_a_piece, std::min(rows, (piece + 1) * rows_a_piece), thread);
  });
}

void StepRunner::run(std::span<const StepRow> rows, std::span<float> logits, std::stop_token stop) {
  const auto check = [&] {
    if (stop.stop_requested()) throw Error(ErrorKind::cancelled, "generation", "stopped on request");
  };
  check();
  const offload::TraceSpan step(c_.trace, TraceKind::step, static_cast<std::uint32_t>(rows.size()));
  {
    const offload::TraceSpan span(c_.trace, TraceKind::embedding, 0);
    embed(rows);
  }
  make_angles(rows);
  count_context(rows);
  for (std::size_t l = 0; l < c_.weights.layers.size(); l++) {
    const LayerWeights& layer = c_.weights.layers[l];
    if (layer.attention) {
      check();
      const offload::TraceSpan span(c_.trace, TraceKind::attention, static_cast<std::uint32_t>(l));
      attention(l, *layer.attention, rows);
    }
    if (layer.feed_forward) {
      check();
      const offload::TraceSpan span(c_.trace, TraceKind::feed_forward, static_cast<std::uint32_t>(l));
      feed_forward(*layer.feed_forward, rows.size());
    }
  }
  check();
  const offload::TraceSpan span(c_.trace, TraceKind::head, 0);
  head(rows, logits);
}

void StepRunner::embed(std::span<const StepRow> rows) {
  using enum compress::TensorRole;
  const std::size_t dim = c_.work.widths.dim;
  const bool segments = c_.index.model.position == compress::PositionKind::segment_relative_bias;
  by_rows(rows.size(), 8, [&](std::size_t begin, std::size_t end, std::size_t thread) {
    ThreadScratch& scratch = embedding_scratch_[thread];
    const auto read = [&](compress::TensorRole table, std::uint64_t row, float* out) {
      const compress::TensorEntry& tensor = *c_.index.find(table);
      const std::span<const std::byte> blob =
          row < tensor.rows ? c_.chunks.resident(compress::chunk_of_embedding_row(c_.index, tensor, row)) : std::span<const std::byte>();
      if (blob.empty())
        compress::read_embedding_row(c_.embedding_file, c_.index, row, scratch.strip, out, table);
      else
        compress::decode_embedding_row(c_.index, tensor, row, blob, out);
      const float divisor = tensor.divisor;
      for (std::size_t i = 0; i < dim && divisor != 1; i++) out[i] /= divisor;
    };
    for (std::size_t r = begin; r < end; r++) {
      read(rows[r].prompt_slot ? prompt_embedding : embedding, rows[r].id, hidden(r));
      if (!segments) continue;
      read(segment_embedding, rows[r].segment, scratch.row.data());
      add_(hidden(r), scratch.row.data(), dim);
    }
  });
}

void StepRunner::make_angles(std::span<const StepRow> rows) {
  if (c_.index.model.position != compress::PositionKind::rope_half) return;
  const std::size_t half = c_.rope.inverse_frequency.size();
  by_rows(rows.size(), 32, [&](std::size_t begin, std::size_t end, std::size_t) {
    for (std::size_t r = begin; r < end; r++)
      kernels::rope_angles(rows[r].position, c_.rope.inverse_frequency, c_.rope.attention_factor, c_.work.cos + r * half,
                           c_.work.sin + r * half);
  });
}

void StepRunner::count_context(std::span<const StepRow> rows) {
  for (const StepRow& row : rows) {
    if (row.sequence >= context_end_.size()) context_end_.resize(row.sequence + 1);
    if (row.context) context_end_[row.sequence] = row.position + 1;
  }
}

template <class Work>
void StepRunner::for_blocks(std::size_t rows, Work&& work) const {
  for (std::size_t begin = 0; begin < rows; begin += c_.work.rows) work(Block{begin, std::min<std::size_t>(rows, begin + c_.work.rows)});
}

void StepRunner::norm(const float* x, const float* weight, float* y, std::size_t rows) {
  const std::size_t dim = c_.work.widths.dim;
  by_rows(rows, 16, [&](std::size_t begin, std::size_t end, std::size_t) {
    rms_norm_({x + begin * dim, weight, y + begin * dim, end - begin, dim, dim, dim, c_.index.model.norm_epsilon});
  });
}

void StepRunner::add(float* x, const float* y, std::size_t rows) {
  const std::size_t dim = c_.work.widths.dim;
  by_rows(rows, 32, [&](std::size_t begin, std::size_t end, std::size_t) { add_(x + begin * dim, y + begin * dim, (end - begin) * dim); });
}

void StepRunner::quantize(const float* x, std::size_t x_stride, std::size_t k, std::size_t rows) {
  by_rows(rows, 16, [&](std::size_t begin, std::size_t end, std::size_t) {
    quantize_({x, x_stride, rows, k, begin, end, c_.work.groups});
  });
}

void StepRunner::multiply(const compress::ModuleEntry& module, std::span<const Product> products, const float* x, std::size_t x_stride,
                          std::size_t rows, AfterUse after) {
  const compress::TensorEntry& first = *products.front().matrix->tensor;
  const compress::TensorEntry& last = *products.back().matrix->tensor;
  const bool takes_groups = std::any_of(products.begin(), products.end(), [](const Product& p) { return p.matrix->takes_groups; });
  std::size_t quantized = rows;  // the block whose int8 rows are there
  pieces_.clear();
  const auto run_pieces = [&] {
    if (pieces_.empty()) return;
    for_blocks(rows, [&](Block block) {
      const float* input = x + block.begin * x_stride;
      if (takes_groups && quantized != block.begin) {
        quantize(input, x_stride, first.k, block.rows());
        quantized = block.begin;
      }
      c_.team.run(pieces_.size(), [&](std::size_t p, std::size_t thread) {
        Piece piece = pieces_[p];
        piece.args.groups = c_.work.groups;
        piece.args.x = input;
        piece.args.x_stride = x_stride;
        piece.args.rows = block.rows();
        piece.args.y += block.begin * piece.args.y_stride;
        run_piece(piece, thread);
      });
    });
    pieces_.clear();
  };
  // Chunks that are there wait for each other, so that the threads meet once for all of them; one that comes from disk is used, and given back, at once.
  c_.chunks.for_each(
      module, first.offset, last.offset + last.bytes, after,
      [&](const compress::ChunkEntry& chunk, std::span<const std::byte> blob) {
        for (const Product& product : products) add_pieces(product, chunk, blob, std::min<std::size_t>(rows, c_.work.rows));
      },
      run_pieces);
}

void StepRunner::add_pieces(const Product& product, const compress::ChunkEntry& chunk, std::span<const std::byte> blob, std::size_t rows) {
  const compress::TensorEntry& tensor = *product.matrix->tensor;
  const std::uint64_t strip_bytes = tensor.strip_bytes();
  const std::uint64_t begin = std::max(chunk.module_offset, tensor.offset),
                      end = std::min(chunk.module_offset + chunk.raw_bytes, tensor.offset + tensor.bytes);
  if (begin >= end) return;
  const std::uint64_t by_bytes = std::max<std::uint64_t>(1, kPieceBytes / strip_bytes);
  const std::uint64_t by_work = kPieceOperations / (kernels::kStripRows * tensor.k * rows) / 2 * 2;
  const std::uint64_t step = rows == 1 ? by_bytes : std::max<std::uint64_t>(2, std::min(by_bytes, by_work));
  const std::uint64_t strips_end = (end - tensor.offset) / strip_bytes;
  for (std::uint64_t s = (begin - tensor.offset) / strip_bytes; s < strips_end; s += step) {
    const std::uint64_t strips = std::min(step, strips_end - s), output = s * kernels::kStripRows;
    Piece piece{product.matrix, {}};
    piece.args.weights = blob.data() + (tensor.offset + s * strip_bytes - chunk.module_offset);
    piece.args.k = tensor.k;
    piece.args.strips = strips;
    piece.args.outputs = std::min<std::uint64_t>(strips * kernels::kStripRows, tensor.rows - output);
    piece.args.factor = product.matrix->factor;
    piece.args.bias = product.matrix->bias ? product.matrix->bias + output : nullptr;
    piece.args.y = product.y + output;
    piece.args.y_stride = product.y_stride;
    pieces_.push_back(piece);
  }
}

void StepRunner::run_piece(const Piece& piece, std::size_t thread) {
  const Matrix& matrix = *piece.matrix;
  if (!matrix.decoded) return matrix.kernel(piece.args);
  const std::size_t k = piece.args.k;
  float *by_row = c_.work.decoded(thread), *by_line = by_row + kernels::kStripRows * k;
  for (std::size_t s = 0; s < piece.args.strips; s++) {
    const std::size_t output = s * kernels::kStripRows;
    kernels::decode_strip(matrix.tensor->layout, piece.args.weights + s * matrix.tensor->strip_bytes(), k, by_row);
    for (std::size_t i = 0; i < k; i++)
      for (std::size_t r = 0; r < kernels::kStripRows; r++) by_line[i * kernels::kStripRows + r] = by_row[r * k + i];
    kernels::MatmulArgs strip = piece.args;
    strip.weights = reinterpret_cast<const std::byte*>(by_line);
    strip.strips = 1;
    strip.outputs = std::min(kernels::kStripRows, piece.args.outputs - output);
    if (strip.bias) strip.bias += output;
    strip.y += output;
    matrix.kernel(strip);
  }
}

void StepRunner::store_keys(std::size_t layer, std::span<const StepRow> rows, Block block) {
  Workspace& work = c_.work;
  const compress::LayerDescription& d = c_.index.model.layers[layer];
  const bool rope = c_.index.model.position == compress::PositionKind::rope_half;
  const std::size_t kv = std::size_t{d.kv_heads} * d.head_dim, half = c_.rope.inverse_frequency.size();
  by_rows(block.rows(), 16, [&](std::size_t begin, std::size_t end, std::size_t) {
    for (std::size_t i = begin; i < end; i++) {
      const std::size_t r = block.begin + i;
      if (rope) kernels::rope_apply(work.k + i * kv, d.kv_heads, d.head_dim, half, work.cos + r * half, work.sin + r * half);
      c_.cache.store(layer, rows[r].sequence, rows[r].position, work.k + i * kv, work.v + i * kv);
    }
  });
}

// From q to context; all keys that the block's rows see are in the cache.
void StepRunner::attend(std::size_t layer, std::span<const StepRow> rows, Block block) {
  Workspace& work = c_.work;
  const compress::LayerDescription& d = c_.index.model.layers[layer];
  const bool rope = c_.index.model.position == compress::PositionKind::rope_half;
  const std::size_t heads = std::size_t{d.heads} * d.head_dim, half = c_.rope.inverse_frequency.size();
  by_rows(block.rows(), 16, [&](std::size_t begin, std::size_t end, std::size_t) {
    for (std::size_t i = begin; i < end; i++) {
      const std::size_t r = block.begin + i;
      const StepRow& row = rows[r];
      if (rope) kernels::rope_apply(work.q + i * heads, d.heads, d.head_dim, half, work.cos + r * half, work.sin + r * half);
      work.attention[i] = c_.cache.row(layer, row.sequence, row.position, row.context ? context_end_[row.sequence] : row.position + 1);
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

void StepRunner::attention(std::size_t layer, const AttentionWeights& w, std::span<const StepRow> rows) {
  Workspace& work = c_.work;
  const compress::LayerDescription& d = c_.index.model.layers[layer];
  const std::size_t heads = std::size_t{d.heads} * d.head_dim, kv = std::size_t{d.kv_heads} * d.head_dim, dim = work.widths.dim;
  const Product q{&w.q, work.q, heads}, k{&w.k, work.k, kv}, v{&w.v, work.v, kv}, out{&w.out, work.projected, dim};
  const auto give_out = [&](Block block, AfterUse after) {
    attend(layer, rows, block);
    multiply(*w.module, {&out, 1}, work.context, heads, block.rows(), after);
    add(hidden(block.begin), work.projected, block.rows());
  };
  if (rows.size() <= work.rows) {
    const Product qkv[] = {q, k, v};
    norm(hidden(0), w.norm, work.normed, rows.size());
    multiply(*w.module, qkv, work.normed, dim, rows.size(), AfterUse::give_back);
    store_keys(layer, rows, {0, rows.size()});
    give_out({0, rows.size()}, AfterUse::give_back);
  } else {
    // A context row may see keys of a later block: first all keys, then all queries.
    for_blocks(rows.size(), [&](Block block) {
      const Product kv_products[] = {k, v};
      norm(hidden(block.begin), w.norm, work.normed, block.rows());
      multiply(*w.module, kv_products, work.normed, dim, block.rows(), AfterUse::keep);
      store_keys(layer, rows, block);
    });
    for_blocks(rows.size(), [&](Block block) {
      norm(hidden(block.begin), w.norm, work.normed, block.rows());
      multiply(*w.module, {&q, 1}, work.normed, dim, block.rows(), AfterUse::keep);
      give_out(block, AfterUse::keep);
    });
  }
  c_.chunks.finish(*w.module);
}

void StepRunner::feed_forward(const FeedForwardWeights& w, std::size_t rows) {
  Workspace& work = c_.work;
  const std::size_t width = w.gate.rows(), dim = work.widths.dim;
  const AfterUse after = rows <= work.rows ? AfterUse::give_back : AfterUse::keep;
  for_blocks(rows, [&](Block block) {
    norm(hidden(block.begin), w.norm, work.normed, block.rows());
    const Product gate_up[] = {{&w.gate, work.gate, width}, {&w.up, work.up, width}};
    multiply(*w.module, gate_up, work.normed, dim, block.rows(), after);
    by_rows(block.rows(), 8, [&](std::size_t begin, std::size_t end, std::size_t) {
      gated_(gate_, work.gate + begin * width, work.up + begin * width, (end - begin) * width);
    });
    const Product down[] = {{&w.down, work.projected, dim}};
    multiply(*w.module, down, work.gate, width, block.rows(), after);
    add(hidden(block.begin), work.projected, block.rows());
  });
  c_.chunks.finish(*w.module);
}

void StepRunner::head(std::span<const StepRow> rows, std::span<float> logits) {
  const std::size_t dim = c_.work.widths.dim;
  std::size_t wanted = 0;
  for (std::size_t r = 0; r < rows.size(); r++)
    if (rows[r].wants_logits) std::memmove(hidden(wanted++), hidden(r), dim * sizeof(float));
  if (wanted > 0) {
    norm(hidden(0), c_.weights.output_norm, hidden(0), wanted);
    const Product product[] = {{&c_.weights.head, logits.data(), c_.index.model.vocab_size}};
    multiply(*c_.weights.head_module, product, hidden(0), dim, wanted, AfterUse::give_back);
  }
  c_.chunks.finish(*c_.weights.head_module);
}

}  // namespace leafcutter::runtime
