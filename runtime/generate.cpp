#include "runtime/generate.h"

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "kernels/elementwise.h"
#include "runtime/stop_matcher.h"

namespace leafcutter::runtime {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

bool ends(const Model& model, std::uint32_t id) {
  const auto& ids = model.index().model.end_ids;
  return std::find(ids.begin(), ids.end(), id) != ids.end() || (model.tokenizer() && model.tokenizer()->is_end(id));
}

void add_logprobs(GeneratedToken& token, std::span<const float> logits, std::uint32_t count) {
  const double sum = kernels::log_sum_exp(logits);
  token.logprob = logits[token.id] - sum;
  std::vector<kernels::Ranked> best(count);
  best.resize(kernels::top_k(logits, best));
  for (const kernels::Ranked& ranked : best) token.top.push_back({ranked.index, ranked.value - sum});
}

// Bytes of tokens to text that may be shown: whole characters, nothing of a stop string.
class TextStream {
 public:
  TextStream(const Tokenizer* tokenizer, std::vector<std::string> stops) : tokenizer_(tokenizer), stop_(std::move(stops)) {}

  std::string push(std::uint32_t id) { return tokenizer_ ? stop_.push(characters_.push(tokenizer_->bytes_of(id))) : std::string(); }
  std::string flush() {
    if (!tokenizer_) return {};
    std::string text = stop_.push(characters_.flush());
    return text + stop_.flush();
  }
  bool stopped() const { return stop_.found(); }

 private:
  const Tokenizer* tokenizer_;
  Utf8Assembler characters_;
  StopMatcher stop_;
};

std::vector<StepRow> prompt_rows(std::span<const std::uint32_t> prompt, std::uint64_t position, std::uint32_t sequence) {
  std::vector<StepRow> rows;
  rows.reserve(prompt.size());
  for (std::size_t i = 0; i < prompt.size(); i++) rows.push_back({prompt[i], position + i, sequence, i + 1 == prompt.size()});
  return rows;
}

}  // namespace

GenerationResult generate(Model& model, std::span<const std::uint32_t> prompt, const GenerateOptions& options,
                          const std::function<void(const GeneratedToken&)>& on_token, std::stop_token stop) {
  if (prompt.empty()) throw Error(ErrorKind::usage, "prompt", "it is empty", "give at least one token");
  std::vector<float> logits(model.index().model.vocab_size);
  std::vector<std::uint32_t> history(prompt.begin(), prompt.end());
  Sampler sampler(options.sampling);
  TextStream text(model.tokenizer(), options.stop);
  GenerationResult result;

  const auto start = Clock::now();
  model.step(prompt_rows(prompt, model.cached_positions(options.sequence), options.sequence), logits, stop);
  result.prefill_seconds = seconds_since(start);
  const auto decode_start = Clock::now();
  result.finish_reason = "length";
  for (std::uint64_t i = 0; i < options.max_tokens; i++) {
    GeneratedToken token;
    token.index = i;
    token.id = sampler.sample(logits, history, model.token_limit());
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
    const StepRow row{token.id, model.cached_positions(options.sequence), options.sequence, true};
    model.step({&row, 1}, logits, stop);
  }
  result.decode_seconds = seconds_since(decode_start);
  return result;
}

}  // namespace leafcutter::runtime
