#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "kernels/elementwise.h"
#include "runtime/generate.h"
#include "runtime/prompt_rows.h"

namespace leafcutter::runtime {
namespace {

constexpr std::uint64_t kLogitRows = 32;  // rows whose logits are held at once

}  // namespace

Perplexity perplexity(Model& model, std::span<const std::uint32_t> ids, std::uint64_t window,
                      const std::function<void(std::uint64_t, std::uint64_t, const Perplexity&)>& progress, std::stop_token stop,
                      std::uint32_t task) {
  if (window < 4) throw Error(ErrorKind::usage, "--ctx-size", std::to_string(window) + " is too small a window", "give at least 4");
  const std::uint64_t windows = ids.size() / window;
  if (windows == 0)
    throw Error(ErrorKind::usage, "text", "its " + std::to_string(ids.size()) + " tokens fill no window of " + std::to_string(window),
                "lower --ctx-size or give more text");
  const std::size_t vocabulary = model.index().model.vocab_size;
  const std::uint64_t slots = prompt_slots(model.index().model);
  const std::uint64_t first = window / 2;  // the logits of this position score the first counted token, first + 1
  std::vector<float> logits(std::min(kLogitRows, window - 1 - first) * vocabulary);
  double sum = 0;
  Perplexity result;
  for (std::uint64_t w = 0; w < windows; w++) {
    const auto part = ids.subspan(w * window, window);
    model.truncate(0, w == 0 ? 0 : slots);  // the slots see each other alone: they are the same for every window
    std::vector<StepRow> rows;
    if (w == 0) rows = slot_rows(model, task);
    for (std::uint64_t i = 0; i < first; i++) rows.push_back(text_row(model, part[i], slots + i, 0, false));
    if (!rows.empty()) model.step(rows, std::span<float>(), stop);
    for (std::uint64_t begin = first; begin + 1 < window; begin += kLogitRows) {
      const std::uint64_t end = std::min(begin + kLogitRows, window - 1);
      rows.clear();
      for (std::uint64_t i = begin; i < end; i++) rows.push_back(text_row(model, part[i], slots + i, 0, true));
      model.step(rows, logits, stop);
      for (std::uint64_t i = begin; i < end; i++) {
        const auto row = std::span(logits).subspan((i - begin) * vocabulary, vocabulary);
        sum += kernels::log_sum_exp(row) - row[part[i + 1]];
        result.tokens++;
      }
    }
    result.mean_nll = sum / static_cast<double>(result.tokens);
    result.perplexity = std::exp(result.mean_nll);
    if (progress) progress(w + 1, windows, result);
  }
  return result;
}

}  // namespace leafcutter::runtime
