#include "runtime/step_runner.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "compress/leaf_reader.h"
#include "kernels/elementwise.h"
#include "kernels/rope.h"

namespace leafcutter::runtime {
namespace {

kernels::QuantizeRows quantize_rows_of(kernels::Isa isa) {
  switch (isa) {
    case kernels::Isa::avx512vnni:
      return kernels::quantize_rows_avx512vnni;
    case kernels::Isa::avx2:
      return kernels::quantize_rows_avx2;
    case kernels::Isa::portable:
      break;
  }
  return kernels::quantize_rows_portable;
}

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
constexpr std::size_t kAttentionRows = 32;  // query rows of one piece of attention

}  // namespace

StepRunner::StepRunner(const StepContext& context)
    : c_(context),
      rms_norm_(kernels::rms_norm_kernel(c_.isa)),
      gated_(kernels::gated_activation_kernel(c_.isa)),
      add_(kernels::add_in_place_kernel(c_.isa)),
      attention_(kernels::attention_kernel(c_.isa)),
      quantize_(quantize_rows_of(c_.isa)),
      gate_(gate_of(c_.index.model.activation)),
      embedding_scratch_(c_.team.size()) {}

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
  embed(rows);
  make_angles(rows);
  for (std::size_t l = 0; l < c_.weights.layers.size(); l++) {
    const LayerWeights& layer = c_.weights.layers[l];
    if (layer.attention) {
      check();
      attention(l, *layer.attention, rows);
    }
    if (layer.feed_forward) {
      check();
      feed_forward(*layer.feed_forward, rows.size());
    }
  }
  check();
  head(rows, logits);
}

void StepRunner::embed(std::span<const StepRow> rows) {
  const std::size_t dim = c_.work.widths.dim;
  by_rows(rows.size(), 8, [&](std::size_t begin, std::size_t end, std::size_t thread) {
    for (std::size_t r = begin; r < end; r++)
      compress::read_embedding_row(c_.embedding_file, c_.index, rows[r].id, embedding_scratch_[thread], c_.work.hidden + r * dim);
  });
}

void StepRunner::make_angles(std::span<const StepRow> rows) {
  const std::size_t half = c_.rope.inverse_frequency.size();
  by_rows(rows.size(), 32, [&](std::size_t begin, std::size_t end, std::size_t) {
    for (std::size_t r = begin; r < end; r++)
      kernels::rope_angles(rows[r].position, c_.rope.inverse_frequency, c_.rope.attention_factor, c_.work.cos + r * half,
                           c_.work.sin + r * half);
  });
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
                          std::size_t rows) {
  const compress::TensorEntry& first = *products.front().matrix->tensor;
  const compress::TensorEntry& last = *products.back().matrix->tensor;
  if (std::any_of(products.begin(), products.end(), [](const Product& p) { return p.matrix->takes_groups; }))
    quantize(x, x_stride, first.k, rows);
  pieces_.clear();
  const auto run_pieces = [&] {
    c_.team.run(pieces_.size(), [&](std::size_t piece, std::size_t) { pieces_[piece].kernel(pieces_[piece].args); });
    pieces_.clear();
  };
  // Resident chunks wait for each other, so that the threads meet once for all of them; a streamed one is used and given back at once.
  c_.chunks.for_each(
      module, first.offset, last.offset + last.bytes,
      [&](const compress::ChunkEntry& chunk, std::span<const std::byte> blob) {
        for (const Product& product : products) add_pieces(product, chunk, blob, x, x_stride, rows);
      },
      run_pieces);
}

void StepRunner::add_pieces(const Product& product, const compress::ChunkEntry& chunk, std::span<const std::byte> blob, const float* x,
                            std::size_t x_stride, std::size_t rows) {
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
    Piece piece{product.matrix->kernel, {}};
    piece.args.weights = blob.data() + (tensor.offset + s * strip_bytes - chunk.module_offset);
    piece.args.k = tensor.k;
    piece.args.strips = strips;
    piece.args.outputs = std::min<std::uint64_t>(strips * kernels::kStripRows, tensor.rows - output);
    piece.args.groups = c_.work.groups;
    piece.args.x = x;
    piece.args.x_stride = x_stride;
    piece.args.rows = rows;
    piece.args.factor = product.matrix->factor;
    piece.args.bias = product.matrix->bias ? product.matrix->bias + output : nullptr;
    piece.args.y = product.y + output;
    piece.args.y_stride = product.y_stride;
    pieces_.push_back(piece);
  }
}

void StepRunner::attention(std::size_t layer, const AttentionWeights& w, std::span<const StepRow> rows) {
  Workspace& work = c_.work;
  const compress::LayerDescription& d = c_.index.model.layers[layer];
  const std::size_t heads = std::size_t{d.heads} * d.head_dim, kv = std::size_t{d.kv_heads} * d.head_dim,
                    half = c_.rope.inverse_frequency.size();
  norm(work.hidden, w.norm, work.normed, rows.size());
  const Product qkv[] = {{&w.q, work.q, heads}, {&w.k, work.k, kv}, {&w.v, work.v, kv}};
  multiply(*w.module, qkv, work.normed, work.widths.dim, rows.size());

  by_rows(rows.size(), 16, [&](std::size_t begin, std::size_t end, std::size_t) {
    for (std::size_t r = begin; r < end; r++) {
      if (c_.index.model.position == compress::PositionKind::rope_half) {
        kernels::rope_apply(work.q + r * heads, d.heads, d.head_dim, half, work.cos + r * half, work.sin + r * half);
        kernels::rope_apply(work.k + r * kv, d.kv_heads, d.head_dim, half, work.cos + r * half, work.sin + r * half);
      }
      c_.cache.store(layer, rows[r].sequence, rows[r].position, work.k + r * kv, work.v + r * kv);
      work.attention[r] = c_.cache.row(layer, rows[r].sequence, rows[r].position + 1);
    }
  });

  kernels::AttentionArgs args{};
  args.type = c_.cache.type();
  args.heads = d.heads;
  args.kv_heads = d.kv_heads;
  args.head_dim = d.head_dim;
  args.scale = 1 / std::sqrt(static_cast<float>(d.head_dim));
  args.q = work.q;
  args.q_stride = heads;
  args.row = work.attention;
  args.rows = rows.size();
  args.y = work.context;
  args.y_stride = heads;
  const std::size_t group = d.heads / d.kv_heads, blocks = (rows.size() + kAttentionRows - 1) / kAttentionRows;
  c_.team.run(d.kv_heads * blocks, [&](std::size_t piece, std::size_t thread) {
    kernels::AttentionArgs part = args;
    const std::size_t head = piece % d.kv_heads, block = blocks - 1 - piece / d.kv_heads;  // the longest first
    part.head_begin = head * group;
    part.head_end = part.head_begin + group;
    part.row_begin = block * kAttentionRows;
    part.row_end = std::min(rows.size(), part.row_begin + kAttentionRows);
    part.scratch = work.scratch(thread);
    attention_(part);
  });
  const Product out[] = {{&w.out, work.projected, work.widths.dim}};
  multiply(*w.module, out, work.context, heads, rows.size());
  add(work.hidden, work.projected, rows.size());
}

void StepRunner::feed_forward(const FeedForwardWeights& w, std::size_t rows) {
  Workspace& work = c_.work;
  const std::size_t width = w.gate.rows();
  norm(work.hidden, w.norm, work.normed, rows);
  const Product gate_up[] = {{&w.gate, work.gate, width}, {&w.up, work.up, width}};
  multiply(*w.module, gate_up, work.normed, work.widths.dim, rows);
  by_rows(rows, 8, [&](std::size_t begin, std::size_t end, std::size_t) {
    gated_(gate_, work.gate + begin * width, work.up + begin * width, (end - begin) * width);
  });
  const Product down[] = {{&w.down, work.projected, work.widths.dim}};
  multiply(*w.module, down, work.gate, width, rows);
  add(work.hidden, work.projected, rows);
}

void StepRunner::head(std::span<const StepRow> rows, std::span<float> logits) {
  Workspace& work = c_.work;
  const std::size_t dim = work.widths.dim;
  std::size_t wanted = 0;
  for (std::size_t r = 0; r < rows.size(); r++)
    if (rows[r].wants_logits) std::memmove(work.projected + wanted++ * dim, work.hidden + r * dim, dim * sizeof(float));
  if (wanted == 0) return c_.chunks.skip(*c_.weights.head_module);
  norm(work.projected, c_.weights.output_norm, work.normed, wanted);
  const Product product[] = {{&c_.weights.head, logits.data(), c_.index.model.vocab_size}};
  multiply(*c_.weights.head_module, product, work.normed, dim, wanted);
}

}  // namespace leafcutter::runtime
