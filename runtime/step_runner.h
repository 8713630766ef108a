// Runs one pass of rows through the model: the outer loop goes over modules, the inner one over blocks of rows, so that a pass reads each weight once. One at a time.
#pragma once

#include <span>
#include <stop_token>

#include "runtime/block_executor.h"
#include "runtime/layer_weights.h"
#include "runtime/model.h"

namespace leafcutter::runtime {

class StepRunner {
 public:
  // All of it must outlive the runner. trace: or null.
  StepRunner(const ModelWeights& weights, BlockExecutor& executor, offload::Trace* trace)
      : weights_(weights), executor_(executor), trace_(trace) {}

  // No more rows than the executor has room for in a pass; a sequence's context rows are all in it. Writes the cache at the rows' positions, which the
  // caller has appended.
  void run(std::span<const StepRow> rows, const StepLogits& logits, std::stop_token stop);

 private:
  void attention(std::size_t layer, const AttentionWeights& weights, std::size_t rows);
  void feed_forward(const FeedForwardWeights& weights, std::size_t rows);
  void head();

  const ModelWeights& weights_;
  BlockExecutor& executor_;
  offload::Trace* trace_;
};

}  // namespace leafcutter::runtime
