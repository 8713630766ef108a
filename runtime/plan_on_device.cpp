#include "runtime/plan_on_device.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "runtime/kv_cache.h"
#include "runtime/plan_model.h"
#include "runtime/position_bias.h"
#include "runtime/sampler.h"

namespace leafcutter::runtime {
namespace {

using offload::Tier;

constexpr const char* kKvCache = "KV cache";

// What the pager has to do.
offload::Plan host_part(const compress::LeafIndex& index, const offload::DevicePlan& placement, std::vector<offload::BufferNeed> buffers) {
  offload::Plan plan;
  plan.resident.assign(index.chunks.size(), false);
  for (std::uint32_t c = 0; c < index.chunks.size(); c++) plan.resident[c] = placement.residence[c] == Tier::host;
  for (const compress::ModuleEntry& module : index.modules)
    for (std::uint32_t c = module.first_chunk; c < module.first_chunk + module.chunk_count; c++)
      if (module.kind == compress::ModuleKind::embedding && placement.table_in_memory) plan.resident[c] = true;
  for (const std::uint32_t c : offload::chunks_of_products(index))
    if (placement.residence[c] == Tier::disk && !plan.resident[c]) plan.streamed.push_back(c);
  plan.ring_bytes = plan.streamed.empty() ? 0 : placement.host_ring_bytes;
  plan.resident_bytes = placement.host_resident_bytes + placement.table_bytes;
  plan.streamed_bytes = placement.streamed_bytes;
  plan.fixed_bytes = placement.host_fixed_bytes;
  plan.buffers = std::move(buffers);
  plan.budget = placement.host_budget;
  plan.total = placement.host_total;
  return plan;
}

// What is weighed: a step of one row, and the prompt that was announced, with the sampling that nobody asked otherwise.
offload::CardWish wish_of(const PlannedModel& model, const LoadOptions& options) {
  const std::uint64_t prompt = options.prompt_positions > 0 ? options.prompt_positions : model.prefill.rows;
  offload::CardWish wish{model.decode, model.prefill, (prompt + model.prefill.rows - 1) / model.prefill.rows};
  wish.decode.best_a_row = wish.prefill.best_a_row = Sampler({}).best_needed();
  return wish;
}

}  // namespace

DeviceModelPlan plan_on_device(const compress::LeafIndex& index, const LoadOptions& given, const offload::HostMemory& host,
                               std::uint64_t already_charged, const Tokenizer* tokenizer) {
  if (given.f32_activations)
    throw Error(ErrorKind::unsupported, "--device", "products with f32 activations are made on the CPU only", "use --device cpu");
  LoadOptions options = given;
  DeviceModelPlan plan;
  plan.model = plan_model(index, options, host, already_charged, tokenizer);
  if (plan.model.rows_per_pass > plan.model.rows_per_step) {
    options.ctx_size = plan.model.ctx_size;
    if (index.model.position == compress::PositionKind::segment_relative_bias)
      options.rows_per_step = plan.model.rows_per_pass;
    else
      options.rows_per_pass = 1;
    plan.model = plan_model(index, options, host, already_charged, tokenizer);
  }
  const KvShape kv = kv_shape(plan.model.ctx_size, options);
  plan.shape = {plan.model.rows_per_step, plan.model.logit_rows, kv.sequences, kv.max_positions};
  plan.device_buffers = device_workspace_needs(index.model, plan.shape);
  for (const compress::ModuleEntry& module : index.modules)
    if (module.kind == compress::ModuleKind::vectors) plan.device_buffers.push_back({"norms and biases", module.bytes});
  if (index.model.position == compress::PositionKind::segment_relative_bias) {
    std::uint64_t heads = 0;
    for (const compress::LayerDescription& layer : index.model.layers) heads += layer.bias_columns.size();
    plan.device_buffers.push_back({"position bias", position_bias_bytes(index.model.segment_bias, plan.model.ctx_size)});
    if (heads > 0) plan.device_buffers.push_back({"columns of the position bias", heads * sizeof(std::uint16_t)});
  }

  offload::DeviceRequest request;
  const std::uint64_t memory = options.device->properties().memory_bytes;  // what a driver takes is no part of it
  request.device_budget = std::min(memory, options.device_memory.value_or(memory));
  request.device_buffers = plan.device_buffers;
  for (const compress::LayerDescription& layer : index.model.layers)
    request.kv_bytes.push_back(
        layer.has_attention ? 2 * std::uint64_t{layer.kv_heads} * kernels::kv_row_bytes(plan.model.kv_type, layer.head_dim) * kv.slots : 0);
  std::uint64_t kv_on_layers = 0;
  for (const std::uint64_t bytes : request.kv_bytes) kv_on_layers += bytes;
  request.host.available = host.available;
  request.host.already_charged = already_charged;
  if (options.memory) request.host.budget = options.memory->resolve(host.available);
  for (const offload::BufferNeed& buffer : plan.model.plan.buffers) {
    // What is left of the cache beside keys and values: lists of slots.
    const std::uint64_t bytes = buffer.name == kKvCache ? buffer.bytes - kv_on_layers : buffer.bytes;
    request.host.buffers.push_back({buffer.name, bytes});
  }
  request.host.buffers.push_back({"lists of positions", plan.device_buffers[1].bytes});
  if (options.device_rates) {
    plan.prediction = offload::predict_card(index, request, wish_of(plan.model, options), *options.device_rates);
    plan.placement = plan.prediction->best().plan;
  } else {
    plan.placement = offload::place(index, request, offload::Residents::even, true);
  }
  if (!options.device_rates && options.host_share > 0)
    plan.placement.decode = offload::with_host_share(index, plan.placement, options.host_share);
  if (options.device_sides) options.device_sides(plan.placement);
  std::vector<offload::BufferNeed> buffers = std::move(request.host.buffers);
  for (offload::BufferNeed& buffer : buffers)
    if (buffer.name == kKvCache) buffer.bytes += plan.placement.host_kv_bytes;
  plan.model.plan = host_part(index, plan.placement, std::move(buffers));
  plan.model.decode.buffers = plan.model.prefill.buffers = plan.model.plan.buffers;
  return plan;
}

}  // namespace leafcutter::runtime
