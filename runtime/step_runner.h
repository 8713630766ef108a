// Runs one pass of rows through the model: the outer loop goes over modules, the inner one over blocks of rows, so that a pass reads each weight once. One at a time.
#pragma once

#include <span>
#include <stop_token>

#include "base/thread_team.h"
#include "kernels/elementwise.h"
#include "runtime/chunk_holder.h"
#include "runtime/kv_cache.h"
#include "runtime/layer_weights.h"
#include "runtime/model.h"
#include "runtime/position_bias.h"
#include "runtime/rope_table.h"
#include "runtime/workspace.h"

namespace leafcutter::runtime {

struct StepContext {
  const compress::LeafIndex& index;
  const ModelWeights& weights;
  const RopeTable& rope;
  const PositionBias& bias;
  KvCache& cache;
  Workspace& work;
  ChunkHolder& chunks;
  ThreadTeam& team;
  File& embedding_file;
  kernels::Isa isa;
  offload::Trace* trace;  // or null
};

class StepRunner {
 public:
  explicit StepRunner(const StepContext& context);

  // rows.size() <= work.pass_rows; a sequence's context rows are all in it. logits: vocab_size floats for each row that wants them. Writes the cache at the rows' positions, which the caller has
  // appended.
  void run(std::span<const StepRow> rows, std::span<float> logits, std::stop_token stop);

 private:
  struct Product {  // one matrix and where its outputs go
    const Matrix* matrix;
    float* y;
    std::size_t y_stride;
  };
  struct Piece {
    const Matrix* matrix;
    kernels::MatmulArgs args;
  };
  struct Block {  // rows of a pass that go through an operation together
    std::size_t begin, end;
    std::size_t rows() const { return end - begin; }
  };

  void embed(std::span<const StepRow> rows);
  void make_angles(std::span<const StepRow> rows);
  void count_context(std::span<const StepRow> rows);
  void attention(std::size_t layer, const AttentionWeights& weights, std::span<const StepRow> rows);
  void store_keys(std::size_t layer, std::span<const StepRow> rows, Block block);
  void attend(std::size_t layer, std::span<const StepRow> rows, Block block);
  void feed_forward(const FeedForwardWeights& weights, std::size_t rows);
  void head(std::span<const StepRow> rows, std::span<float> logits);

  template <class Work>
  void for_blocks(std::size_t rows, Work&& work) const;
  float* hidden(std::size_t row) const { return c_.work.hidden + row * c_.work.widths.dim; }
  void norm(const float* x, const float* weight, float* y, std::size_t rows);
  // All products of one input x [rows][k], whose matrices lie one after another in the module's blob. More rows than a block's go through each chunk block by block.
  void multiply(const compress::ModuleEntry& module, std::span<const Product> products, const float* x, std::size_t x_stride,
                std::size_t rows, AfterUse after);
  void add_pieces(const Product& product, const compress::ChunkEntry& chunk, std::span<const std::byte> blob, std::size_t rows);
  void run_piece(const Piece& piece, std::size_t thread);
  void quantize(const float* x, std::size_t x_stride, std::size_t k, std::size_t rows);
  void add(float* x, const float* y, std::size_t rows);
  // Calls work(first row, past the last row, thread) for blocks of rows, in parallel where it pays.
  template <class Work>
  void by_rows(std::size_t rows, std::size_t rows_a_piece, Work&& work);

  StepContext c_;
  kernels::RmsNorm rms_norm_;
  kernels::GatedActivation gated_;
  kernels::AddInPlace add_;
  kernels::Attention attention_;
  kernels::QuantizeRows quantize_;
  kernels::Gate gate_;
  std::vector<Piece> pieces_;
  struct ThreadScratch {
    std::vector<std::byte> strip;  // of an embedding
    std::vector<float> row;
  };
  std::vector<ThreadScratch> embedding_scratch_;
  std::vector<std::uint64_t> context_end_;  // of each sequence: behind its last context row of this pass
};

}  // namespace leafcutter::runtime
