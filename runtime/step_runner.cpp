#include "runtime/step_runner.h"

#include "base/error.h"
#include "offload/trace.h"

namespace leafcutter::runtime {

using offload::TraceKind;

void StepRunner::run(std::span<const StepRow> rows, const StepLogits& logits, std::stop_token stop) {
  const auto check = [&] {
    if (stop.stop_requested()) throw Error(ErrorKind::cancelled, "generation", "stopped on request");
  };
  check();
  const offload::TraceSpan step(trace_, TraceKind::step, static_cast<std::uint32_t>(rows.size()));
  {
    const offload::TraceSpan span(trace_, TraceKind::embedding, 0);
    executor_.begin(rows, logits);
  }
  for (std::size_t l = 0; l < weights_.layers.size(); l++) {
    const LayerWeights& layer = weights_.layers[l];
    if (layer.attention) {
      check();
      const offload::TraceSpan span(trace_, TraceKind::attention, static_cast<std::uint32_t>(l));
      attention(l, *layer.attention, rows.size());
    }
    if (layer.feed_forward) {
      check();
      const offload::TraceSpan span(trace_, TraceKind::feed_forward, static_cast<std::uint32_t>(l));
      feed_forward(*layer.feed_forward, rows.size());
    }
  }
  check();
  const offload::TraceSpan span(trace_, TraceKind::head, 0);
  head();
}

void StepRunner::attention(std::size_t layer, const AttentionWeights& w, std::size_t rows) {
  using enum RowBuffer;
  const Product q_product{&w.q, q}, k_product{&w.k, k}, v_product{&w.v, v}, out{&w.out, projected};
  const auto give_out = [&](Block block, AfterUse after) {
    executor_.attend(layer, block);
    executor_.multiply(*w.module, {&out, 1}, context, block.rows(), after);
    executor_.add(block);
  };
  if (rows <= executor_.block_rows()) {
    const Block all{0, rows};
    const Product qkv[] = {q_product, k_product, v_product};
    executor_.norm(w.norm, normed, all);
    executor_.multiply(*w.module, qkv, normed, rows, AfterUse::give_back);
    executor_.store_keys(layer, all);
    give_out(all, AfterUse::give_back);
  } else {
    // A context row may see keys of a later block: first all keys, then all queries.
    for_blocks(rows, executor_.block_rows(), [&](Block block) {
      const Product kv[] = {k_product, v_product};
      executor_.norm(w.norm, normed, block);
      executor_.multiply(*w.module, kv, normed, block.rows(), AfterUse::keep);
      executor_.store_keys(layer, block);
    });
    for_blocks(rows, executor_.block_rows(), [&](Block block) {
      executor_.norm(w.norm, normed, block);
      executor_.multiply(*w.module, {&q_product, 1}, normed, block.rows(), AfterUse::keep);
      give_out(block, AfterUse::keep);
    });
  }
  executor_.finish(*w.module);
}

void StepRunner::feed_forward(const FeedForwardWeights& w, std::size_t rows) {
  using enum RowBuffer;
  const AfterUse after = rows <= executor_.block_rows() ? AfterUse::give_back : AfterUse::keep;
  for_blocks(rows, executor_.block_rows(), [&](Block block) {
    const Product gate_up[] = {{&w.gate, gate}, {&w.up, up}}, down{&w.down, projected};
    executor_.norm(w.norm, normed, block);
    executor_.multiply(*w.module, gate_up, normed, block.rows(), after);
    executor_.activate(w.gate.rows(), block.rows());
    executor_.multiply(*w.module, {&down, 1}, gate, block.rows(), after);
    executor_.add(block);
  });
  executor_.finish(*w.module);
}

void StepRunner::head() {
  const std::size_t wanted = executor_.choose_wanted();
  if (wanted > 0) {
    const Product product{&weights_.head, RowBuffer::logits};
    executor_.norm(weights_.output_norm, RowBuffer::hidden, {0, wanted});
    executor_.multiply(*weights_.head_module, {&product, 1}, RowBuffer::hidden, wanted, AfterUse::give_back);
  }
  executor_.finish(*weights_.head_module);
  executor_.end();
}

}  // namespace leafcutter::runtime
