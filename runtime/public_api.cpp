// include/leafcutter/leafcutter.h over the runtime.
#include <optional>

#include "leafcutter/leafcutter.h"
#include "offload/host_memory.h"
#include "runtime/beam_search.h"
#include "runtime/chat.h"
#include "runtime/draft_model.h"
#include "runtime/generate.h"
#include "runtime/prefix_cache.h"
#include "runtime/prompt_rows.h"
#include "runtime/score.h"

namespace leafcutter {
namespace {

runtime::LoadOptions runtime_options(const LoadOptions& options) {
  runtime::LoadOptions to;
  if (!options.memory.empty()) to.memory = parse_size(options.memory, "memory");
  to.threads = options.threads;
  to.ctx_size = options.ctx_size;
  to.sequences = to.logit_rows = std::max(1u, options.beams);
  if (!options.kv_type.empty()) {
    to.kv_type = kernels::find_kv_type(options.kv_type);
    if (!to.kv_type) throw Error(ErrorKind::usage, "kv_type", "\"" + options.kv_type + "\" is none", "f32, f16 or q8");
  }
  to.progress = options.progress;
  to.stop = options.stop;
  runtime::plan_for_speculation(to, runtime::Lookup::automatic, !options.draft.empty());
  return to;
}

runtime::Preset preset_of(const std::string& name) {
  if (name.empty()) return runtime::Preset::none;
  if (name == "cpm-live") return runtime::Preset::cpm_live;
  if (name == "hf") return runtime::Preset::hf;
  throw Error(ErrorKind::usage, "preset", "\"" + name + "\" is none", "cpm-live or hf");
}

runtime::GenerateOptions runtime_options(const GenerateOptions& options) {
  runtime::GenerateOptions to;
  to.max_tokens = options.max_tokens;
  to.sampling = {.temperature = options.temperature,
                 .top_k = options.top_k,
                 .top_p = options.top_p,
                 .min_p = options.min_p,
                 .repetition_penalty = options.repetition_penalty,
                 .repetition_window = options.repetition_window,
                 .seed = options.seed};
  to.stop = options.stop;
  to.ignore_end = options.ignore_end;
  to.task = options.task;
  to.preset = preset_of(options.preset);
  to.speculation.lookup = runtime::lookup_named(options.lookup);
  to.sampling.temperature_first = to.preset != runtime::Preset::none;
  runtime::validate(to.sampling);
  return to;
}

runtime::BeamOptions beam_options(const GenerateOptions& options, const runtime::GenerateOptions& common) {
  runtime::BeamOptions to;
  to.beams = options.beams;
  to.max_tokens = options.max_tokens;
  to.preset = common.preset == runtime::Preset::cpm_live ? runtime::Preset::cpm_live : runtime::Preset::hf;
  to.repetition_penalty = options.repetition_penalty;
  to.repetition_window = options.repetition_window;
  to.ignore_end = options.ignore_end;
  to.task = options.task;
  return to;
}

}  // namespace

struct Model::State {
  State(const std::string& the_path, const LoadOptions& options)
      : path(the_path), beams(std::max(1u, options.beams)), model(load(the_path, options, draft)), prefix(*model) {}

  // The draft model comes second: the plan of the large one has counted it, or has refused.
  static std::unique_ptr<runtime::Model> load(const std::string& path, const LoadOptions& options,
                                              std::optional<runtime::DraftModel>& draft) {
    runtime::LoadOptions to = runtime_options(options);
    if (options.draft.empty()) return runtime::Model::load(path, to);
    const runtime::LoadOptions of_draft = runtime::plan_draft_model(to, path, options.draft);
    auto model = runtime::Model::load(path, to);
    draft.emplace(options.draft, of_draft);
    return model;
  }

  const runtime::Tokenizer& tokenizer() const {
    if (!model->tokenizer()) throw Error(ErrorKind::unsupported, path, "has no tokenizer inside", "give ids instead of text");
    return *model->tokenizer();
  }

  const std::string path;
  const unsigned beams;
  std::optional<runtime::DraftModel> draft;
  const std::unique_ptr<runtime::Model> model;
  runtime::PrefixCache prefix;
};

Model::Model(std::unique_ptr<State> state) : state_(std::move(state)) {}
Model::~Model() = default;
Model::Model(Model&&) noexcept = default;
Model& Model::operator=(Model&&) noexcept = default;

Model Model::load(const std::string& path, const LoadOptions& options) { return Model(std::make_unique<State>(path, options)); }

Generation Model::generate(std::string_view prompt, const GenerateOptions& options, const OnToken& on_token) {
  const runtime::Tokenizer& tokenizer = state_->tokenizer();
  std::vector<std::uint32_t> ids;
  if (tokenizer.begin_id()) ids.push_back(*tokenizer.begin_id());
  std::vector<std::uint32_t> rest = tokenizer.encode(prompt);
  if (preset_of(options.preset) == runtime::Preset::cpm_live)
    std::erase_if(rest, [&](std::uint32_t id) { return tokenizer.is_unknown(id); });
  ids.insert(ids.end(), rest.begin(), rest.end());
  return generate(std::span<const std::uint32_t>(ids), options, on_token);
}

Generation Model::generate(std::span<const std::uint32_t> prompt, const GenerateOptions& options, const OnToken& on_token) {
  runtime::GenerateOptions to = runtime_options(options);
  const std::uint64_t slots = runtime::prompt_slots(state_->model->index().model);
  if (options.beams > state_->beams)
    throw Error(ErrorKind::usage, state_->path,
                std::to_string(options.beams) + " beams where load() was told of " + std::to_string(state_->beams));
  // The last token generated needs no position; a search of CPM-Live's kind looks one further.
  if (slots + prompt.size() + options.max_tokens + (options.beams > 1) > ctx_size() + 1)
    throw Error(ErrorKind::usage, state_->path,
                std::to_string(prompt.size()) + " prompt tokens and max_tokens " + std::to_string(options.max_tokens) +
                    " are more than the context of " + std::to_string(ctx_size()),
                "raise ctx_size or lower max_tokens");
  const auto give = [&](const runtime::GeneratedToken& token) {
    if (on_token) on_token({token.index, token.id, token.text});
  };
  runtime::GenerationResult result;
  if (options.beams > 1) {
    state_->prefix.forget();
    result = runtime::beam_search(*state_->model, prompt, beam_options(options, to), give, options.cancel);
    state_->prefix.forget();
  } else {
    to.cached = prompt.size() - state_->prefix.rest_of(prompt, options.task).size();
    to.speculation.draft_model = state_->draft ? &*state_->draft : nullptr;
    result = runtime::generate(*state_->model, prompt, to, give, options.cancel);
    state_->prefix.append(result.ids);
  }
  return {std::move(result.text), std::move(result.ids),  std::move(result.finish_reason),
          prompt.size(),          result.prefill_seconds, result.decode_seconds};
}

Generation Model::chat(std::span<const ChatMessage> messages, const GenerateOptions& options, const OnToken& on_token) {
  std::vector<runtime::ChatMessage> given;
  for (const ChatMessage& message : messages) given.push_back({message.role, message.content});
  return generate(std::span<const std::uint32_t>(runtime::chat_prompt(state_->tokenizer(), given)), options, on_token);
}

std::vector<float> Model::logits(std::span<const std::uint32_t> ids) {
  if (ids.empty()) throw Error(ErrorKind::usage, "ids", "there are none", "give at least one token");
  const std::span<const std::uint32_t> rest = state_->prefix.rest_of(ids);
  const std::vector<runtime::StepRow> rows = runtime::prompt_rows(*state_->model, rest, runtime::kTextTask);
  std::vector<float> values(vocabulary_size());
  state_->model->step(rows, values);
  return values;
}

std::vector<Score> Model::score(std::span<const std::uint32_t> prompt, std::span<const std::vector<std::uint32_t>> answers,
                                std::uint32_t task) {
  state_->prefix.forget();
  std::vector<Score> scores;
  for (runtime::OptionScore& score : runtime::score_options(*state_->model, prompt, answers, task))
    scores.push_back({score.logprob, std::move(score.tokens)});
  state_->prefix.forget();
  return scores;
}

std::vector<std::uint32_t> Model::tokenize(std::string_view text, bool parse_special) const {
  return state_->tokenizer().encode(text, parse_special);
}

std::string Model::detokenize(std::span<const std::uint32_t> ids, bool with_special) const {
  return state_->tokenizer().decode(ids, with_special);
}

std::uint32_t Model::vocabulary_size() const { return state_->model->index().model.vocab_size; }
std::uint64_t Model::ctx_size() const { return state_->model->ctx_size(); }

MemoryReport Model::memory() const {
  const offload::Plan& plan = state_->model->plan();
  return {plan.budget, plan.total, offload::peak_memory().bytes, plan.resident_bytes, plan.streamed_bytes};
}

const char* version() { return LEAFCUTTER_VERSION; }

}  // namespace leafcutter
