#include "runtime/score.h"

#include <algorithm>

#include "base/error.h"
#include "kernels/elementwise.h"
#include "runtime/prompt_rows.h"

namespace leafcutter::runtime {
namespace {

constexpr std::size_t kTogether = 16;   // options whose keys are held at once
constexpr std::size_t kLogitRows = 32;  // rows whose logits are held at once

std::size_t longest_of(std::span<const Ids> options) {
  std::size_t longest = 0;
  for (const Ids& option : options) longest = std::max(longest, option.size());
  return longest;
}

}  // namespace

void plan_for_score(LoadOptions& load, std::span<const Ids> options, std::uint64_t positions) {
  load.sequences = std::min(kTogether, options.size());
  load.logit_rows = kLogitRows;
  load.needed_positions = positions + longest_of(options);
  load.prompt_positions = positions;
  load.forked_positions = load.sequences * longest_of(options);
}

std::vector<OptionScore> score_options(Model& model, std::span<const std::uint32_t> prompt, std::span<const Ids> options,
                                       std::uint32_t task, std::stop_token stop) {
  if (prompt.empty()) throw Error(ErrorKind::usage, "prompt", "it is empty", "give at least one token");
  if (longest_of(options) == 0 || std::any_of(options.begin(), options.end(), [](const Ids& o) { return o.empty(); }))
    throw Error(ErrorKind::usage, "option", "it is empty", "give at least one token");
  const std::size_t vocabulary = model.index().model.vocab_size;
  for (const Ids& option : options)
    for (const std::uint32_t id : option)
      if (id >= vocabulary)
        throw Error(ErrorKind::usage, "option", "id " + std::to_string(id) + " is past the vocabulary of " + std::to_string(vocabulary));

  std::vector<float> logits(kLogitRows * vocabulary);
  for (std::uint32_t s = 0; s < model.sequences(); s++) model.truncate(s, 0);
  model.step(prompt_rows(model, prompt, task), logits, stop);
  const std::uint64_t begin = model.cached_positions(0);
  std::vector<OptionScore> scores(options.size());
  const auto add = [&](std::size_t option, std::span<const float> values, double sum, std::uint32_t id) {
    scores[option].tokens.push_back(values[id] - sum);
    scores[option].logprob += scores[option].tokens.back();
  };
  const auto first = std::span<const float>(logits).first(vocabulary);
  const double first_sum = kernels::log_sum_exp(first);
  for (std::size_t o = 0; o < options.size(); o++) add(o, first, first_sum, options[o][0]);

  const std::size_t together = std::min(kTogether, model.sequences());
  struct Asked {
    std::size_t option;
    std::uint32_t id;  // that follows
  };
  for (std::size_t batch = 0; batch < options.size(); batch += together) {
    const std::size_t count = std::min(together, options.size() - batch);
    const std::vector<std::uint32_t> parents(count, 0);
    model.fork(parents);
    std::vector<StepRow> rows;
    std::vector<Asked> asked;
    for (std::uint32_t s = 0; s < count; s++) {
      const Ids& option = options[batch + s];
      for (std::size_t i = 0; i + 1 < option.size(); i++) {
        rows.push_back(text_row(model, option[i], begin + i, s, true));
        asked.push_back({batch + s, option[i + 1]});
      }
    }
    for (std::size_t at = 0; at < rows.size(); at += kLogitRows) {
      const std::size_t n = std::min(kLogitRows, rows.size() - at);
      model.step(std::span(rows).subspan(at, n), logits, stop);
      for (std::size_t i = 0; i < n; i++) {
        const auto values = std::span<const float>(logits).subspan(i * vocabulary, vocabulary);
        add(asked[at + i].option, values, kernels::log_sum_exp(values), asked[at + i].id);
      }
    }
    for (std::uint32_t s = 0; s < count; s++) model.truncate(s, s == 0 ? begin : 0);
  }
  return scores;
}

}  // namespace leafcutter::runtime
