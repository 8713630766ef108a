#include "runtime/plan_card.h"

#include <algorithm>

#include "base/error.h"
#include "runtime/kv_cache.h"
#include "runtime/position_bias.h"
#include "runtime/prompt_rows.h"
#include "runtime/sampler.h"
#include "runtime/step_program_builder.h"
#include "runtime/workspace.h"

namespace leafcutter::runtime {
namespace {

using compress::LeafIndex;

constexpr std::uint64_t kDefaultContext = 2048;
constexpr std::uint64_t kContextShare =
    16;  // a context that nobody asked for takes at most this part of the card: what it would hold may never come, residents help in every step
constexpr std::uint64_t kRowsOfPass = 512;  // a causal prompt that is longer takes several passes

bool is_bidirectional(const LeafIndex& index) { return index.model.position == compress::PositionKind::segment_relative_bias; }

kernels::KvType default_kv_type(const LeafIndex& index) {
  const bool f32 = std::all_of(index.tensors.begin(), index.tensors.end(),
                               [](const compress::TensorEntry& tensor) { return tensor.format == quant::FormatId::f32; });
  return f32 ? kernels::KvType::f32 : kernels::KvType::f16;
}

// As KvCache lays it out: keys and values of a layer lie together, so that a layer can be on either side.
std::uint64_t kv_bytes_of_layer(const compress::LayerDescription& layer, kernels::KvType type, std::uint64_t slots) {
  return layer.has_attention ? 2 * std::uint64_t{layer.kv_heads} * kernels::kv_row_bytes(type, layer.head_dim) * slots : 0;
}

std::uint64_t choose_context(const LeafIndex& index, const CardOptions& options, kernels::KvType type, std::uint64_t needed) {
  if (options.ctx_size > 0) {
    if (options.ctx_size < needed)
      throw Error(ErrorKind::usage, "--ctx-size " + std::to_string(options.ctx_size),
                  "prompt and tokens to generate need " + std::to_string(needed), "raise --ctx-size or lower -n");
    return options.ctx_size;
  }
  std::uint64_t context = std::max(needed, std::min(std::max<std::uint64_t>(index.model.context_length, 1), kDefaultContext));
  const std::uint64_t row = kv_bytes_per_position(index.model, type) * options.sequences;
  while (context > needed && context * row > options.device_budget / kContextShare) context = std::max(needed, context / 2);
  return context;
}

// What both sides need for their share of a pass: workspace, norms and biases, CPM-Ant's position bias.
std::vector<offload::BufferNeed> buffers_of_a_side(const LeafIndex& index, std::uint64_t rows, std::uint64_t ctx_size,
                                                   std::size_t threads) {
  std::vector<offload::BufferNeed> buffers = workspace_needs(index.model, {rows, rows, threads, false});
  for (const compress::ModuleEntry& module : index.modules)
    if (module.kind == compress::ModuleKind::vectors) buffers.push_back({"norms and biases", module.bytes});
  if (is_bidirectional(index)) buffers.push_back({"position bias", position_bias_bytes(index.model.segment_bias, ctx_size)});
  return buffers;
}

}  // namespace

CardRequest card_request(const LeafIndex& index, const CardOptions& options) {
  const std::uint64_t prompt = prompt_slots(index.model) + options.prompt_tokens;
  CardRequest planned;
  planned.kv_type = options.kv_type.value_or(default_kv_type(index));
  planned.ctx_size = choose_context(index, options, planned.kv_type, prompt + options.new_tokens);
  planned.rows_per_pass = std::max(is_bidirectional(index) ? prompt : std::min(prompt, kRowsOfPass), options.sequences);

  offload::DeviceRequest& request = planned.request;
  request.device_budget = options.device_budget;
  request.context_bytes = options.context_bytes;
  request.host = options.host;
  const offload::BufferNeed logits{"logits", options.sequences * index.model.vocab_size * sizeof(float)};
  request.device_buffers = buffers_of_a_side(index, planned.rows_per_pass, planned.ctx_size, 1);
  request.device_buffers.push_back(logits);
  request.host.buffers = buffers_of_a_side(index, planned.rows_per_pass, planned.ctx_size, options.threads);
  request.host.buffers.push_back(logits);
  const std::uint64_t slots = planned.ctx_size * options.sequences;
  std::uint64_t rows = 0;
  for (const compress::LayerDescription& layer : index.model.layers) {
    request.kv_bytes.push_back(kv_bytes_of_layer(layer, planned.kv_type, slots));
    rows += request.kv_bytes.back();
  }
  request.host.buffers.push_back(
      {"KV cache: lists of slots", kv_cache_bytes(index.model, planned.kv_type, {slots, planned.ctx_size, options.sequences}) - rows});

  const std::uint64_t positions = prompt + options.new_tokens / 2;  // on average
  planned.wish.decode = step_program(index, options.sequences, positions, options.sequences, planned.kv_type);
  const std::uint64_t block = std::min(planned.rows_per_pass, prompt);
  planned.wish.prefill = step_program(index, block, prompt, 1, planned.kv_type);
  planned.wish.decode.best_a_row = planned.wish.prefill.best_a_row = Sampler({}).best_needed();
  planned.wish.prefill_passes = (prompt * options.sequences + block - 1) / block;
  return planned;
}

}  // namespace leafcutter::runtime
