#include "runtime/host_products.h"

#include <algorithm>

#include "offload/product_pieces.h"
#include "runtime/block_executor.h"
#include "runtime/row_pieces.h"

namespace leafcutter::runtime {
namespace {

// A piece of a product moves so many bytes of weights as offload/product_pieces.h says, or does this many multiplications: some tens of microseconds either way, so that handing it out costs little
// and a thread that loses its core holds little. Strips come in pairs: kernels for many rows work on two at once.
constexpr std::uint64_t kPieceOperations = 64 << 20;

}  // namespace

StripRange strips_in(const compress::TensorEntry& tensor, const compress::ChunkEntry& chunk) {
  const std::uint64_t strip_bytes = tensor.strip_bytes();
  const std::uint64_t begin = std::max(chunk.module_offset, tensor.offset),
                      end = std::min(chunk.module_offset + chunk.raw_bytes, tensor.offset + tensor.bytes);
  if (begin >= end) return {};
  const std::uint64_t first = (begin - tensor.offset) / strip_bytes, past = (end - tensor.offset) / strip_bytes;
  return {first, past - first, tensor.offset + first * strip_bytes - chunk.module_offset};
}

StripRange first_strips(const compress::TensorEntry& tensor, const compress::ChunkEntry& chunk, std::size_t bytes) {
  StripRange range = strips_in(tensor, chunk);
  if (range.strips > 0) range.strips = std::min(range.strips, (std::max(bytes, range.offset) - range.offset) / tensor.strip_bytes());
  return range;
}

StripRange last_strips(const compress::TensorEntry& tensor, const compress::ChunkEntry& chunk, std::size_t bytes) {
  const std::size_t first = first_strips(tensor, chunk, bytes).strips;
  StripRange range = strips_in(tensor, chunk);
  range.first_strip += first;
  range.strips -= first;
  range.offset += first * tensor.strip_bytes();
  return range;
}

void HostProducts::begin(const float* x, std::size_t k, std::size_t rows) {
  x_ = x;
  k_ = k;
  rows_ = quantized_ = rows;
  pieces_.clear();
}

void HostProducts::add(const Matrix& matrix, float* y, const StripRange& range, std::span<const std::byte> blob) {
  if (range.strips == 0) return;
  const compress::TensorEntry& tensor = *matrix.tensor;
  if (pieces_.empty()) takes_groups_ = false;
  takes_groups_ = takes_groups_ || matrix.takes_groups;
  const std::uint64_t strip_bytes = tensor.strip_bytes(), rows = std::min<std::size_t>(rows_, work_.rows);
  const std::uint64_t by_bytes = std::max<std::uint64_t>(1, offload::piece_bytes(tensor.bytes, team_.size()) / strip_bytes);
  const std::uint64_t by_work = kPieceOperations / (kernels::kStripRows * tensor.k * rows) / 2 * 2;
  const std::uint64_t step = rows == 1 ? by_bytes : std::max<std::uint64_t>(2, std::min(by_bytes, by_work));
  for (std::uint64_t s = 0; s < range.strips; s += step) {
    const std::uint64_t strips = std::min(step, range.strips - s), output = (range.first_strip + s) * kernels::kStripRows;
    Piece piece{&matrix, {}};
    piece.args.weights = blob.data() + range.offset + s * strip_bytes;
    piece.args.k = tensor.k;
    piece.args.strips = strips;
    piece.args.outputs = std::min<std::uint64_t>(strips * kernels::kStripRows, tensor.rows - output);
    piece.args.factor = matrix.factor;
    piece.args.bias = matrix.bias ? matrix.bias + output : nullptr;
    piece.args.y = y + output;
    piece.args.y_stride = tensor.rows;
    pieces_.push_back(piece);
  }
}

void HostProducts::run() {
  if (pieces_.empty()) return;
  for_blocks(rows_, work_.rows, [&](Block block) {
    const float* x = x_ + block.begin * k_;
    if (takes_groups_ && quantized_ != block.begin) {
      quantize(x, block.rows());
      quantized_ = block.begin;
    }
    team_.run(pieces_.size(), [&](std::size_t p, std::size_t thread) {
      Piece piece = pieces_[p];
      piece.args.groups = work_.groups;
      piece.args.x = x;
      piece.args.x_stride = k_;
      piece.args.rows = block.rows();
      piece.args.y += block.begin * piece.args.y_stride;
      run_piece(piece, thread);
    });
  });
  pieces_.clear();
}

void HostProducts::quantize(const float* x, std::size_t rows) {
  by_rows(team_, rows, 16, [&](std::size_t begin, std::size_t end, std::size_t) {
    quantize_({x, k_, rows, k_, begin, end, work_.groups});
  });
}

void HostProducts::run_piece(const Piece& piece, std::size_t thread) {
  const Matrix& matrix = *piece.matrix;
  if (!matrix.decoded) return matrix.kernel(piece.args);
  const std::size_t k = piece.args.k;
  float *by_row = work_.decoded(thread), *by_line = by_row + kernels::kStripRows * k;
  for (std::size_t s = 0; s < piece.args.strips; s++) {
    const std::size_t output = s * kernels::kStripRows;
    for (std::size_t r = 0; r < kernels::kStripRows; r++)
      kernels::decode_strip_row(matrix.tensor->layout, piece.args.weights + s * matrix.tensor->strip_bytes(), k, r, by_row + r * k);
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

}  // namespace leafcutter::runtime
