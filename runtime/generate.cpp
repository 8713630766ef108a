#include "runtime/generate.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/error.h"
#include "runtime/answer.h"
#include "runtime/prompt_rows.h"

namespace leafcutter::runtime {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// What the cache holds in the end, whatever happens: rows of drafts that turned out wrong, or were never looked at, are forgotten.
class KeptPositions {
 public:
  KeptPositions(Model& model, std::uint32_t sequence) : model_(model), sequence_(sequence), count_(model.cached_positions(sequence)) {}
  ~KeptPositions() { cut(); }
  KeptPositions(const KeptPositions&) = delete;
  KeptPositions& operator=(const KeptPositions&) = delete;

  void add_one() { count_++; }
  void cut() { model_.truncate(sequence_, count_); }

 private:
  Model& model_;
  const std::uint32_t sequence_;
  std::uint64_t count_;
};

}  // namespace

GenerationResult generate(Model& model, std::span<const std::uint32_t> prompt, const GenerateOptions& options,
                          const std::function<void(const GeneratedToken&)>& on_token, std::stop_token stop) {
  if (prompt.size() <= options.cached) throw Error(ErrorKind::usage, "prompt", "it is empty", "give at least one token");
  const std::size_t vocabulary = model.index().model.vocab_size;
  const bool live = options.preset == Preset::cpm_live;
  const std::size_t not_penalised = live ? prompt.size() : 0;
  std::vector<std::uint32_t> ids(prompt.begin(), prompt.end());
  ids.reserve(prompt.size() + std::min(options.max_tokens, model.ctx_size()) + 1);
  Sampler sampler(options.sampling);
  Speculator speculator(model, options.speculation);
  TextStream text(model.tokenizer(), options.stop);
  GenerationResult result;
  result.ids.reserve(ids.capacity() - prompt.size());

  const auto start = Clock::now();
  std::vector<float> all_logits(speculator.most_rows() * vocabulary);
  // Where the sampler and nobody else looks at logits, and only at the largest, no others are asked for.
  const std::size_t needed =
      options.logprobs > 0 || (live && options.sampling.temperature > 0) ? 0 : std::min(sampler.best_needed(), model.token_limit());
  const std::size_t best_a_row = needed <= kMostBest ? needed : 0;
  std::vector<kernels::Ranked> best(speculator.most_rows() * best_a_row);
  const StepLogits step_logits{all_logits, best, best_a_row, model.token_limit()};
  std::vector<StepRow> rows = prompt_rows(model, prompt.subspan(options.cached), options.task, options.sequence);
  rows.reserve(speculator.most_rows());
  model.step(rows, step_logits, stop);
  result.prefill_seconds = seconds_since(start);
  speculator.begin(prompt, options.task, rows.size(), result.prefill_seconds);
  KeptPositions kept(model, options.sequence);
  std::span<const std::uint32_t> drafts;  // rows of the last step behind its first one
  std::size_t row = 0;                    // of the last step, whose logits are next

  const auto decode_start = Clock::now();
  result.finish_reason = "length";
  for (std::uint64_t i = 0; i < options.max_tokens; i++) {
    const auto logits = std::span<const float>(all_logits).subspan(row * vocabulary, vocabulary);
    const auto history = std::span<const std::uint32_t>(ids).subspan(not_penalised);
    GeneratedToken token;
    token.index = i;
    if (best_a_row > 0) {
      token.id = sampler.sample_best(std::span(best).subspan(row * best_a_row, best_a_row));
    } else if (live && i == 0 && options.sampling.temperature > 0) {
      std::vector<float> allowed(logits.begin(), logits.end());
      for (const std::uint32_t id : never_first(model)) allowed[id] = -INFINITY;
      token.id = sampler.sample(allowed, history, model.token_limit());
    } else {
      token.id = sampler.sample(logits, history, model.token_limit());
    }
    if (options.logprobs > 0) add_logprobs(token, logits, options.logprobs);
    ids.push_back(token.id);
    result.ids.push_back(token.id);
    const bool end = !options.ignore_end && ends(model, token.id);
    if (!end) token.text = text.push(token.id);
    const bool last = end || text.stopped() || i + 1 == options.max_tokens;
    if (last && !text.stopped()) token.text += text.flush();
    result.text += token.text;
    if (on_token) on_token(token);
    if (end || text.stopped()) result.finish_reason = "stop";
    const bool drafted = row < drafts.size() && drafts[row] == token.id;
    if (last) {
      speculator.verified(row + drafted, row < drafts.size() && !drafted);
      break;
    }
    if (drafted) {  // its row is there
      kept.add_one();
      row++;
      continue;
    }
    speculator.verified(row, row < drafts.size());
    kept.cut();
    const std::uint64_t position = model.cached_positions(options.sequence);
    const std::uint64_t room = model.ctx_size() - std::min(model.ctx_size(), position + 1);
    drafts = speculator.draft(ids, std::min(options.max_tokens - i - 2, room), stop);
    rows.clear();
    rows.push_back(text_row(model, token.id, position, options.sequence, true));
    for (const std::uint32_t draft : drafts) rows.push_back(text_row(model, draft, position + rows.size(), options.sequence, true));
    const auto step_start = Clock::now();
    model.step(rows, step_logits, stop);
    speculator.step_took(seconds_since(step_start));
    kept.add_one();
    row = 0;
  }
  result.decode_seconds = seconds_since(decode_start);
  result.speculation = speculator.report();
  return result;
}

}  // namespace leafcutter::runtime
