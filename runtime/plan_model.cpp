#include <algorithm>
#include <thread>

#include "base/error.h"
#include "runtime/kv_cache.h"
#include "runtime/model.h"
#include "runtime/step_program_builder.h"
#include "runtime/workspace.h"

namespace leafcutter::runtime {
namespace {

using compress::LeafIndex;

constexpr std::uint64_t kDefaultContext = 2048;
constexpr std::uint64_t kLeastContext = 128;  // below this a context is not worth having unless it was asked for
constexpr std::uint64_t kRowSteps[] = {512, 256, 128, 64, 32, 16, 8, 4, 2, 1};
constexpr double kWorkspaceShare = 0.15;  // of the budget: more rows save passes over streamed weights, but residents save bytes in each

bool is_f32_file(const LeafIndex& index) {
  return std::all_of(index.tensors.begin(), index.tensors.end(),
                     [](const compress::TensorEntry& t) { return t.format == quant::FormatId::f32; });
}

struct Settings {
  std::uint64_t ctx_size, rows;
  kernels::KvType kv_type;
};

std::vector<offload::BufferNeed> buffers_of(const LeafIndex& index, const LoadOptions& options, const Settings& s) {
  std::vector<offload::BufferNeed> buffers = {{"KV cache", kv_bytes_per_position(index.model, s.kv_type) * s.ctx_size * options.sequences}};
  for (offload::BufferNeed& need : workspace_needs(index.model, s.rows, options.threads)) buffers.push_back(std::move(need));
  for (const compress::ModuleEntry& module : index.modules)
    if (module.kind == compress::ModuleKind::vectors) buffers.push_back({"norms and biases", module.bytes});
  buffers.push_back({"logits", options.logit_rows * index.model.vocab_size * sizeof(float)});
  return buffers;
}

std::uint64_t workspace_bytes(const LeafIndex& index, std::uint64_t rows, std::size_t threads) {
  std::uint64_t bytes = 0;
  for (const offload::BufferNeed& need : workspace_needs(index.model, rows, threads)) bytes += need.bytes;
  return bytes;
}

std::uint64_t choose_rows(const LeafIndex& index, const LoadOptions& options, std::uint64_t ctx_size, std::uint64_t memory) {
  for (const std::uint64_t rows : kRowSteps) {
    if (rows > 1 && rows / 2 >= std::max(ctx_size, options.logit_rows)) continue;  // more than any prompt has
    if (rows < options.logit_rows) break;
    if (static_cast<double>(workspace_bytes(index, rows, options.threads)) <= kWorkspaceShare * static_cast<double>(memory)) return rows;
  }
  return std::max<std::uint64_t>(options.logit_rows, 1);
}

}  // namespace

PlannedModel plan_model(const LeafIndex& index, const LoadOptions& given, const offload::HostMemory& host, std::uint64_t already_charged,
                        const Tokenizer*) {
  LoadOptions options = given;
  if (options.threads == 0) options.threads = std::max(1u, std::thread::hardware_concurrency());
  offload::PlanRequest request;
  request.available = host.available;
  request.already_charged = already_charged;
  if (options.memory) request.budget = options.memory->resolve(host.available);
  const std::uint64_t memory = request.budget.value_or(host.available);

  const bool explicit_context = options.ctx_size > 0;
  if (explicit_context && options.ctx_size < options.needed_positions)
    throw Error(ErrorKind::usage, "--ctx-size " + std::to_string(options.ctx_size),
                "prompt and tokens to generate need " + std::to_string(options.needed_positions), "raise --ctx-size or lower -n");
  Settings s{};
  s.kv_type = options.kv_type.value_or(is_f32_file(index) ? kernels::KvType::f32 : kernels::KvType::f16);
  s.ctx_size = explicit_context
                   ? options.ctx_size
                   : std::max(options.needed_positions, std::min(std::max<std::uint64_t>(index.model.context_length, 1), kDefaultContext));
  const std::uint64_t least_context =
      explicit_context ? s.ctx_size : std::max(options.needed_positions, std::min(s.ctx_size, kLeastContext));

  PlannedModel planned;
  for (;;) {
    s.rows = options.rows_per_step > 0 ? options.rows_per_step : choose_rows(index, options, s.ctx_size, memory);
    request.buffers = buffers_of(index, options, s);
    if (request.budget.value_or(host.available) >= offload::least_budget(index, request)) break;
    if (s.ctx_size == least_context) {
      while (options.rows_per_step == 0 && s.rows > std::max<std::uint64_t>(options.logit_rows, 1) &&
             memory < offload::least_budget(index, request)) {
        s.rows = std::max<std::uint64_t>(s.rows / 2, options.logit_rows);
        request.buffers = buffers_of(index, options, s);
      }
      break;  // make_plan says what is missing, if anything still is
    }
    s.ctx_size = std::max(least_context, s.ctx_size / 2);
  }
  planned.plan = offload::make_plan(index, request);
  planned.ctx_size = s.ctx_size;
  planned.rows_per_step = s.rows;
  planned.kv_type = s.kv_type;
  planned.decode = step_program(
      index, 1, std::min<std::uint64_t>(s.ctx_size, options.needed_positions > 0 ? options.needed_positions : s.ctx_size), 1, s.kv_type);
  planned.prefill = step_program(index, s.rows, std::min(s.rows, s.ctx_size), 1, s.kv_type);
  planned.decode.buffers = planned.prefill.buffers = request.buffers;
  return planned;
}

}  // namespace leafcutter::runtime
