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

}  // namespace

GenerationResult generate(Model& model, std::span<const std::uint32_t> prompt, const GenerateOptions& options,
                          const std::function<void(const GeneratedToken&)>& on_token, std::stop_token stop) {
  if (prompt.empty()) throw Error(ErrorKind::usage, "prompt", "it is empty", "give at least one token");
  std::vector<float> logits(model.index().model.vocab_size);
  const bool live = options.preset == Preset::cpm_live;
  std::vector<std::uint32_t> history;
  if (!live) history.assign(prompt.begin(), prompt.end());
  Sampler sampler(options.sampling);
  TextStream text(model.tokenizer(), options.stop);
  GenerationResult result;

  const auto start = Clock::now();
  model.step(prompt_rows(model, prompt, options.task, options.sequence), logits, stop);
  result.prefill_seconds = seconds_since(start);
  const auto decode_start = Clock::now();
  result.finish_reason = "length";
  for (std::uint64_t i = 0; i < options.max_tokens; i++) {
    GeneratedToken token;
    token.index = i;
    if (live && i == 0 && options.sampling.temperature > 0) {
      std::vector<float> allowed = logits;
      for (const std::uint32_t id : never_first(model)) allowed[id] = -INFINITY;
      token.id = sampler.sample(allowed, history, model.token_limit());
    } else {
      token.id = sampler.sample(logits, history, model.token_limit());
    }
    if (options.logprobs > 0) add_logprobs(token, logits, options.logprobs);
    history.push_back(token.id);
    result.ids.push_back(token.id);
    const bool end = !options.ignore_end && ends(model, token.id);
    if (!end) token.text = text.push(token.id);
    const bool last = end || text.stopped() || i + 1 == options.max_tokens;
    if (last && !text.stopped()) token.text += text.flush();
    result.text += token.text;
    if (on_token) on_token(token);
    if (end || text.stopped()) result.finish_reason = "stop";
    if (last) break;
    const StepRow row = text_row(model, token.id, model.cached_positions(options.sequence), options.sequence, true);
    model.step({&row, 1}, logits, stop);
  }
  result.decode_seconds = seconds_since(decode_start);
  return result;
}

}  // namespace leafcutter::runtime
