// Products of rows with chunks of weights on the CPU, cut in pieces that the threads of a team take as they come.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "base/thread_team.h"
#include "kernels/activation_rows.h"
#include "kernels/matmul.h"
#include "runtime/layer_weights.h"
#include "runtime/workspace.h"

namespace leafcutter::runtime {

// Strips of a matrix that lie one after another in a chunk.
struct StripRange {
  std::size_t first_strip = 0, strips = 0;
  std::size_t offset = 0;  // of the first strip in the chunk's blob
  std::size_t first_output() const { return first_strip * kernels::kStripRows; }
};
// All of the matrix that lie in this chunk; no strips when none do.
StripRange strips_in(const compress::TensorEntry& tensor, const compress::ChunkEntry& chunk);
// Those of them in the first `bytes` of its blob, which end with a strip, and the others.
StripRange first_strips(const compress::TensorEntry& tensor, const compress::ChunkEntry& chunk, std::size_t bytes);
StripRange last_strips(const compress::TensorEntry& tensor, const compress::ChunkEntry& chunk, std::size_t bytes);

// One input at a time. Uses the workspace's int8 rows and room for decoded weights; what it refers to must outlive it.
class HostProducts {
 public:
  HostProducts(Workspace& work, ThreadTeam& team, kernels::Isa isa)
      : work_(work), team_(team), quantize_(kernels::quantize_rows_kernel(isa)) {}

  // The input from here on: rows of k floats side by side. More rows than a block's go through each chunk block by block.
  void begin(const float* x, std::size_t k, std::size_t rows);
  // These strips of a matrix, which lie in this blob of a chunk, are to be multiplied. y: the matrix's outputs of the first row, rows one behind the other. The blob must stay until run().
  void add(const Matrix& matrix, float* y, const StripRange& range, std::span<const std::byte> blob);
  // All that was added since.
  void run();

 private:
  struct Piece {
    const Matrix* matrix;
    kernels::MatmulArgs args;
  };

  void run_piece(const Piece& piece, std::size_t thread);
  void quantize(const float* x, std::size_t rows);

  Workspace& work_;
  ThreadTeam& team_;
  kernels::QuantizeRows quantize_;
  const float* x_ = nullptr;
  std::size_t k_ = 0, rows_ = 0;
  std::size_t quantized_ = 0;  // the block whose int8 rows are there; rows_: none
  bool takes_groups_ = false;  // a piece does
  std::vector<Piece> pieces_;
};

}  // namespace leafcutter::runtime
