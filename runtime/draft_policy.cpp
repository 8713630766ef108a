#include "runtime/draft_policy.h"

#include <algorithm>

namespace leafcutter::runtime {
namespace {

constexpr double kPriorWeight = 2;    // drafts that the first guess counts for
constexpr double kFading = 0.95;      // of counts, with each look
constexpr double kNewest = 0.25;      // weight of a step's time in the average
constexpr double kOutlier = 2;        // a step that took more than so many times what was thought was disturbed
constexpr double kFirstGuess = 0.15;  // of a step: what a row more costs, before anything is known
constexpr std::size_t kTellingPrompt = 8;
constexpr double kWorthIt = 1.05;

}  // namespace

double expected_tokens(double acceptance, std::size_t drafts) {
  double tokens = 1, all_right = 1;
  for (std::size_t i = 0; i < drafts; i++) tokens += all_right *= acceptance;
  return tokens;
}

Acceptance::Acceptance(DraftRates prior)
    : first_{kPriorWeight * prior.first, kPriorWeight * (1 - prior.first)},
      later_{kPriorWeight * prior.later, kPriorWeight * (1 - prior.later)} {}

void Acceptance::saw(std::size_t right, bool wrong) {
  if (right == 0) {
    if (wrong) first_.saw(0, 1);
    return;
  }
  first_.saw(1, 0);
  if (right > 1 || wrong) later_.saw(static_cast<double>(right - 1), wrong ? 1 : 0);
}

void Acceptance::Count::saw(double right_more, double wrong_more) {
  right = kFading * right + right_more;
  wrong = kFading * wrong + wrong_more;
}

void StepCosts::measured(std::size_t rows, double seconds) {
  if (rows == 0 || rows >= seconds_.size() || seconds <= 0) return;
  double& known = seconds_[rows];
  known = known == 0 ? seconds : (1 - kNewest) * known + kNewest * std::min(seconds, kOutlier * known);
  for (std::size_t fewer = 1; fewer < rows; fewer++) seconds_[fewer] = std::min(seconds_[fewer], known);  // they never take longer
}

void StepCosts::prompt(std::size_t rows, double seconds) {
  if (rows >= kTellingPrompt) prompt_row_ = seconds / static_cast<double>(rows);
}

double StepCosts::of(std::size_t rows) const {
  if (rows >= seconds_.size() || seconds_[1] == 0) return 0;
  std::size_t below = rows, above = rows;
  while (seconds_[below] == 0) below--;
  while (above < seconds_.size() && seconds_[above] == 0) above++;
  const double rows_more = static_cast<double>(rows - below);
  if (above < seconds_.size())
    return below == above ? seconds_[rows]
                          : seconds_[below] + (seconds_[above] - seconds_[below]) * rows_more / static_cast<double>(above - below);
  double row = kFirstGuess * seconds_[1];
  if (below > 1)
    row = std::max(0.0, (seconds_[below] - seconds_[1]) / static_cast<double>(below - 1));
  else if (prompt_row_ > 0)
    row = std::min(prompt_row_, seconds_[1]);
  return seconds_[below] + row * rows_more;
}

DraftChoice best_drafts(DraftRates rates, const StepCosts& costs, std::size_t most, double seconds_a_draft) {
  DraftChoice best;
  const double one = costs.of(1);
  if (one == 0) return best;
  for (std::size_t k = 1; k <= std::min(most, costs.most_rows() - 1); k++) {
    const double seconds = costs.of(k + 1) + static_cast<double>(k) * seconds_a_draft;
    const double gain = rates.tokens(k) * one / seconds;
    if (gain >= kWorthIt && gain > best.gain) best = {k, gain};
  }
  return best;
}

}  // namespace leafcutter::runtime
