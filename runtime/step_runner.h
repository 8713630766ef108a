// Runs blocks of rows through the model, layer by layer. One step at a time.
#pragma once

#include <span>
#include <stop_token>

#include "base/thread_team.h"
#include "kernels/elementwise.h"
#include "runtime/chunk_holder.h"
#include "runtime/kv_cache.h"
#include "runtime/layer_weights.h"
#include "runtime/model.h"
#include "runtime/rope_table.h"
#include "runtime/workspace.h"

namespace leafcutter::runtime {

struct StepContext {
  const compress::LeafIndex& index;
  const ModelWeights& weights;
  const RopeTable& rope;
  KvCache& cache;
  Workspace& work;
  ChunkHolder& chunks;
  ThreadTeam& team;
  File& embedding_file;
  kernels::Isa isa;
};

class StepRunner {
 public:
  explicit StepRunner(const StepContext& context);

  // rows.size() <= work.rows. logits: vocab_size floats for each row that wants them. Writes the cache at the rows' positions; positions are counted by the caller.
  void run(std::span<const StepRow> rows, std::span<float> logits, std::stop_token stop);

 private:
  struct Product {  // one matrix and where its outputs go
    const Matrix* matrix;
    float* y;
    std::size_t y_stride;
  };
  struct Piece {
    kernels::Matmul kernel;
    kernels::MatmulArgs args;
  };

  void embed(std::span<const StepRow> rows);
  void make_angles(std::span<const StepRow> rows);
  void attention(std::size_t layer, const AttentionWeights& weights, std::span<const StepRow> rows);
  void feed_forward(const FeedForwardWeights& weights, std::size_t rows);
  void head(std::span<const StepRow> rows, std::span<float> logits);

  void norm(const float* x, const float* weight, float* y, std::size_t rows);
  // All products of one input x [rows][k], whose matrices lie one after another in the module's blob.
  void multiply(const compress::ModuleEntry& module, std::span<const Product> products, const float* x, std::size_t x_stride,
                std::size_t rows);
  void add_pieces(const Product& product, const compress::ChunkEntry& chunk, std::span<const std::byte> blob, const float* x,
                  std::size_t x_stride, std::size_t rows);
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
  std::vector<std::vector<std::byte>> embedding_scratch_;  // per thread
};

}  // namespace leafcutter::runtime
