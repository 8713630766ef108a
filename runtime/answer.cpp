#include "runtime/answer.h"

#include <algorithm>

#include "kernels/elementwise.h"

namespace leafcutter::runtime {

bool ends(const Model& model, std::uint32_t id) {
  const auto& ids = model.index().model.end_ids;
  return std::find(ids.begin(), ids.end(), id) != ids.end() || (model.tokenizer() && model.tokenizer()->is_end(id));
}

std::vector<std::uint32_t> never_first(const Model& model) {
  constexpr std::uint32_t kAntLineEnd = 4;  // its specials have fixed ids
  std::vector<std::uint32_t> ids;
  for (std::uint32_t id = 0; id < model.token_limit(); id++)
    if (ends(model, id)) ids.push_back(id);
  if (model.index().model.position == compress::PositionKind::segment_relative_bias) {
    ids.push_back(kAntLineEnd);
  } else if (model.tokenizer()) {
    const std::vector<std::uint32_t> line_end = model.tokenizer()->encode("\n");
    if (line_end.size() == 1) ids.push_back(line_end[0]);
  }
  return ids;
}

void add_logprobs(GeneratedToken& token, std::span<const float> logits, std::uint32_t count) {
  const double sum = kernels::log_sum_exp(logits);
  token.logprob = logits[token.id] - sum;
  std::vector<kernels::Ranked> best(count);
  best.resize(kernels::top_k(logits, best));
  for (const kernels::Ranked& ranked : best) token.top.push_back({ranked.index, ranked.value - sum});
}

}  // namespace leafcutter::runtime
