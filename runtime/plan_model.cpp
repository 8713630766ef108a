#include "runtime/plan_model.h"

#include <algorithm>
#include <thread>

#include "base/error.h"
#include "offload/trace.h"
#include "runtime/position_bias.h"
#include "runtime/step_program_builder.h"
#include "runtime/workspace.h"

namespace leafcutter::runtime {
namespace {

using compress::LeafIndex;

constexpr std::uint64_t kDefaultContext = 2048;
constexpr std::uint64_t kLeastContext = 128;  // below this a context is not worth having unless it was asked for
constexpr std::uint64_t kContextShare =
    4;  // a context that nobody asked for takes at most this part of the budget: what it would hold may never come, residents help in every step
constexpr std::uint64_t kRowSteps[] = {512, 256, 128, 64, 32, 16, 8, 4, 2, 1};
constexpr std::uint64_t kRowsAtOnce = 1024;  // a bidirectional prompt up to this length may be one block
constexpr double kWorkspaceShare = 0.15;     // of the budget: more rows save passes over streamed weights, but residents save bytes in each
// Several blocks a pass need a ring that holds a module, and a hidden row for each: worth this share of the budget when a long prompt is known to come, less when one may come.
constexpr std::uint64_t kKnownPromptShare = 8, kPossiblePromptShare = 32;
// What rows for drafts take of the residents may lengthen what a step reads by at most this part: they help where a text repeats, residents help always.
constexpr std::uint64_t kDraftShare = 30;

bool is_f32_file(const LeafIndex& index) {
  return std::all_of(index.tensors.begin(), index.tensors.end(),
                     [](const compress::TensorEntry& t) { return t.format == quant::FormatId::f32; });
}

struct Settings {
  std::uint64_t ctx_size = 0;
  std::uint64_t rows = 0, pass_rows = 0;
  std::uint64_t logit_rows = 0, draft_rows = 0;  // the latter wished for
  kernels::KvType kv_type{};
};

WorkspaceShape workspace_shape(const LoadOptions& options, std::uint64_t rows, std::uint64_t pass_rows) {
  return {rows, pass_rows, options.threads, options.f32_activations};
}

offload::PlanRequest request_for(const LeafIndex& index, const LoadOptions& options, const Settings& s, offload::PlanRequest request) {
  std::vector<offload::BufferNeed>& buffers = request.buffers;
  buffers = {{"KV cache", kv_cache_bytes(index.model, s.kv_type, kv_shape(s.ctx_size, options))}};
  for (offload::BufferNeed& need : workspace_needs(index.model, workspace_shape(options, s.rows, s.pass_rows)))
    buffers.push_back(std::move(need));
  for (const compress::ModuleEntry& module : index.modules)
    if (module.kind == compress::ModuleKind::vectors) buffers.push_back({"norms and biases", module.bytes});
  if (index.model.position == compress::PositionKind::segment_relative_bias)
    buffers.push_back({"position bias", position_bias_bytes(index.model.segment_bias, s.ctx_size)});
  if (options.pager.trace) buffers.push_back({"trace", options.pager.trace->memory_bytes()});
  buffers.push_back({"logits", s.logit_rows * index.model.vocab_size * sizeof(float)});
  buffers.insert(buffers.end(), options.beside.begin(), options.beside.end());
  request.holds_modules = s.pass_rows > s.rows;
  return request;
}

std::uint64_t workspace_bytes(const LeafIndex& index, const WorkspaceShape& shape) {
  std::uint64_t bytes = 0;
  for (const offload::BufferNeed& need : workspace_needs(index.model, shape)) bytes += need.bytes;
  return bytes;
}

bool is_bidirectional(const LeafIndex& index) { return index.model.position == compress::PositionKind::segment_relative_bias; }

// Rows of the longest prompt that may come.
std::uint64_t longest_prompt(const LoadOptions& options, std::uint64_t ctx_size) {
  return options.prompt_positions > 0 ? std::min(options.prompt_positions, ctx_size) : ctx_size;
}

// Blocks as large as the budget has room for; passes as the model needs them.
void choose_rows(const LeafIndex& index, const LoadOptions& options, std::uint64_t memory, Settings& s) {
  const std::uint64_t longest = std::max(longest_prompt(options, s.ctx_size), std::min(s.logit_rows + s.draft_rows, s.ctx_size));
  const bool bidirectional = is_bidirectional(index);
  s.rows = options.rows_per_step;
  const auto fits = [&](std::uint64_t rows) {
    return static_cast<double>(workspace_bytes(index, workspace_shape(options, rows, bidirectional ? std::max(rows, longest) : rows))) <=
           kWorkspaceShare * static_cast<double>(memory);
  };
  if (s.rows == 0 && bidirectional && longest <= kRowsAtOnce && fits(longest)) s.rows = longest;
  for (const std::uint64_t rows : kRowSteps) {
    if (s.rows > 0) break;
    if (rows > 1 && rows / 2 >= longest) continue;  // more than any prompt has
    if (fits(rows) || rows == 1) s.rows = rows;
  }
  s.pass_rows = options.rows_per_pass > 0 ? std::max(options.rows_per_pass, s.rows) : bidirectional ? std::max(s.rows, longest) : s.rows;
}

std::uint64_t largest_module(const LeafIndex& index) {
  std::uint64_t bytes = 0;
  for (const compress::ModuleEntry& module : index.modules)
    if (module.kind == compress::ModuleKind::attention || module.kind == compress::ModuleKind::feed_forward)
      bytes = std::max(bytes, module.bytes);
  return bytes;
}

// A causal prompt of several blocks may take several passes: one saves reading, but what it needs in memory is then missing for residents in every step.
void lengthen_pass(const LeafIndex& index, const LoadOptions& options, std::uint64_t memory, Settings& s) {
  const std::uint64_t longest = longest_prompt(options, s.ctx_size);
  if (options.rows_per_pass > 0 || is_bidirectional(index) || longest <= s.rows) return;
  const std::uint64_t more = workspace_bytes(index, workspace_shape(options, s.rows, longest)) -
                             workspace_bytes(index, workspace_shape(options, s.rows, s.rows)) + largest_module(index);
  if (more <= memory / (options.prompt_positions > 0 ? kKnownPromptShare : kPossiblePromptShare)) s.pass_rows = longest;
}

// Rows of logits for drafts, from what a plan without them leaves free or, where it streams, from a small part of its residents.
std::uint64_t affordable_draft_rows(const LeafIndex& index, const Settings& s, const offload::PlanRequest& request) {
  if (s.draft_rows == 0 || s.pass_rows <= s.logit_rows) return 0;
  const std::uint64_t memory = request.budget.value_or(request.available), least = offload::least_budget(index, request);
  if (memory < least) return 0;
  const offload::Plan plan = offload::make_plan(index, request);
  const std::uint64_t bytes =
      plan.streamed_bytes > 0 ? std::min(memory - least, plan.streamed_bytes / kDraftShare) : memory - std::min(memory, plan.total);
  return std::min({s.draft_rows, s.pass_rows - s.logit_rows, bytes / (index.model.vocab_size * sizeof(float))});
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

  while (s.ctx_size > least_context && kv_cache_bytes(index.model, s.kv_type, kv_shape(s.ctx_size, options)) > memory / kContextShare)
    s.ctx_size = std::max(least_context, s.ctx_size / 2);
  s.logit_rows = options.logit_rows;
  s.draft_rows = options.draft_rows;
  const auto fits = [&] {
    request = request_for(index, options, s, request);
    return memory >= offload::least_budget(index, request);
  };
  for (;;) {
    choose_rows(index, options, memory, s);
    if (fits()) {
      const Settings fitting = s;
      lengthen_pass(index, options, memory, s);
      if (!fits()) s = fitting;
      break;
    }
    if (s.draft_rows > 0) {  // the first to give way
      s.draft_rows = 0;
      continue;
    }
    if (s.ctx_size == least_context) {
      while (options.rows_per_step == 0 && s.rows > 1 && !fits()) {
        s.rows /= 2;
        if (options.rows_per_pass == 0 && !is_bidirectional(index)) s.pass_rows = s.rows;
      }
      break;  // make_plan says what is missing, if anything still is
    }
    s.ctx_size = std::max(least_context, s.ctx_size / 2);
  }
  request = request_for(index, options, s, request);
  s.logit_rows += affordable_draft_rows(index, s, request);
  request = request_for(index, options, s, request);
  PlannedModel planned;
  planned.plan = offload::make_plan(index, request);
  planned.ctx_size = s.ctx_size;
  planned.rows_per_step = s.rows;
  planned.rows_per_pass = s.pass_rows;
  planned.logit_rows = s.logit_rows;
  planned.kv_type = s.kv_type;
  planned.decode = step_program(
      index, 1, std::min<std::uint64_t>(s.ctx_size, options.needed_positions > 0 ? options.needed_positions : s.ctx_size), 1, s.kv_type);
  planned.prefill = step_program(index, s.pass_rows, std::min(s.pass_rows, s.ctx_size), 1, s.kv_type);
  planned.decode.buffers = planned.prefill.buffers = request.buffers;
  return planned;
}

}  // namespace leafcutter::runtime
