// How the operations of a step are carried out: on the CPU, or on a device with memory of its own. What a step consists of, in which order and for which rows, is decided by StepRunner alone.
//
// Rows live in buffers that the executor owns and the runner names. Buffers of a pass have a row for each row of it, buffers of a block for each row of a block.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stop_token>

#include "runtime/chunk_holder.h"
#include "runtime/layer_weights.h"
#include "runtime/model.h"
#include "runtime/workspace.h"

namespace leafcutter::runtime {

enum class RowBuffer : std::uint8_t {
  hidden,     // of a pass: the residual stream
  normed,     // of a block, like all that follow: hidden rows, normed
  projected,  // what a part adds to the hidden rows; may take the place of normed
  q,
  k,
  v,
  context,  // what attention gives
  gate,
  up,
  logits  // of a pass: of the rows that want them
};

// One matrix and where its outputs go.
struct Product {
  const Matrix* matrix;
  RowBuffer output;
};

// Where a buffer lies in a workspace of the host. logits: nowhere.
float* host_buffer(const Workspace& work, RowBuffer name);

// Rows of a pass that go through an operation together.
struct Block {
  std::size_t begin, end;
  std::size_t rows() const { return end - begin; }
};

// Calls work(block) for one block of `rows` after another.
template <class Work>
void for_blocks(std::size_t rows, std::size_t rows_a_block, Work&& work) {
  for (std::size_t begin = 0; begin < rows; begin += rows_a_block) work(Block{begin, std::min(rows, begin + rows_a_block)});
}

class BlockExecutor {
 public:
  virtual ~BlockExecutor() = default;

  // What it needs of the weights in memory of its own, once, before the first pass and before the pager reads. Throws Error(io | bad_file | cancelled | device).
  virtual void load(std::stop_token) {}

  virtual std::size_t block_rows() const = 0;  // the most of a block

  // A pass begins: its rows are looked up, into hidden. What the arguments point to must stay until end().
  virtual void begin(std::span<const StepRow> rows, const StepLogits& logits) = 0;
  // hidden rows of the block, normed with `weight`, to `output`: normed, or hidden in place.
  virtual void norm(const float* weight, RowBuffer output, Block block) = 0;
  // All products of one input, whose matrices lie one after another in the module's blob; `rows` rows from the first row of each buffer on. More rows than a block's go through each chunk block by block.
  virtual void multiply(const compress::ModuleEntry& module, std::span<const Product> products, RowBuffer input, std::size_t rows,
                        AfterUse after) = 0;
  virtual void store_keys(std::size_t layer, Block block) = 0;     // k and v into the cache
  virtual void attend(std::size_t layer, Block block) = 0;         // from q to context; all keys that the block's rows see are in the cache
  virtual void activate(std::size_t width, std::size_t rows) = 0;  // gate = act(gate) * up
  virtual void add(Block block) = 0;                               // hidden += projected
  virtual std::size_t choose_wanted() = 0;                         // hidden rows that want logits, moved to the front; how many
  // The module is done with.
  virtual void finish(const compress::ModuleEntry& module) = 0;
  // The pass is over: the logits, or the best of them, are there.
  virtual void end() = 0;
  // The pass was given up in the middle (an error, a stop): the next call is begin().
  virtual void abandon() = 0;
};

}  // namespace leafcutter::runtime
