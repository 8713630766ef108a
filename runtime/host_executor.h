// Carries the operations of a step out on the CPU: kernels over the workspace, shared among the threads of a team.
#pragma once

#include <span>

#include "base/thread_team.h"
#include "kernels/elementwise.h"
#include "runtime/block_executor.h"
#include "runtime/embedding_rows.h"
#include "runtime/host_products.h"
#include "runtime/kv_cache.h"
#include "runtime/position_bias.h"
#include "runtime/rope_table.h"
#include "runtime/visible_keys.h"
#include "runtime/workspace.h"

namespace leafcutter::runtime {

// All of it must outlive the executor.
struct HostContext {
  const compress::LeafIndex& index;
  const RopeTable& rope;
  const PositionBias& bias;
  KvCache& cache;
  Workspace& work;
  ChunkHolder& chunks;
  ThreadTeam& team;
  File& embedding_file;
  kernels::Isa isa;
};

class HostExecutor final : public BlockExecutor {
 public:
  explicit HostExecutor(const HostContext& context);

  std::size_t block_rows() const override { return c_.work.rows; }
  void begin(std::span<const StepRow> rows, const StepLogits& logits) override;
  void norm(const float* weight, RowBuffer output, Block block) override;
  void multiply(const compress::ModuleEntry& module, std::span<const Product> products, RowBuffer input, std::size_t rows,
                AfterUse after) override;
  void store_keys(std::size_t layer, Block block) override;
  void attend(std::size_t layer, Block block) override;
  void activate(std::size_t width, std::size_t rows) override;
  void add(Block block) override;
  std::size_t choose_wanted() override;
  void finish(const compress::ModuleEntry& module) override { c_.chunks.finish(module); }
  void end() override;
  void abandon() override { c_.chunks.abandon(); }

 private:
  void make_angles();
  float* hidden(std::size_t row) const { return c_.work.hidden + row * c_.work.widths.dim; }
  float* buffer(RowBuffer name) const { return name == RowBuffer::logits ? logits_.all.data() : host_buffer(c_.work, name); }

  HostContext c_;
  EmbeddingRows embedding_;
  HostProducts products_;
  kernels::RmsNorm rms_norm_;
  kernels::GatedActivation gated_;
  kernels::AddInPlace add_;
  kernels::Attention attention_;
  kernels::Gate gate_;
  VisibleKeys context_;
  std::span<const StepRow> rows_;
  StepLogits logits_;
  std::size_t wanted_ = 0;  // rows that want logits
};

}  // namespace leafcutter::runtime
