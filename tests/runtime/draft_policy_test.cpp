#include "runtime/draft_policy.h"

#include <doctest/doctest.h>

using namespace leafcutter::runtime;

namespace {

// A machine on which a row more costs this share of a step.
StepCosts costs_with(double row, std::size_t most = 16) {
  StepCosts costs(most);
  for (std::size_t r = 1; r <= most; r++) costs.measured(r, 1 + row * static_cast<double>(r - 1));
  return costs;
}

}  // namespace

TEST_CASE("expected tokens are one and all drafts that are right in a row") {
  CHECK(expected_tokens(0.5, 0) == 1);
  CHECK(expected_tokens(0.5, 3) == doctest::Approx(1.875));
  CHECK(expected_tokens(1, 7) == 8);
  CHECK(expected_tokens(0, 7) == 1);
}

TEST_CASE("drafts of which the first may be wrong and the others then are") {
  const DraftRates rates{0.25, 0.5};
  CHECK(rates.tokens(0) == 1);
  CHECK(rates.tokens(1) == 1.25);
  CHECK(rates.tokens(3) == doctest::Approx(1 + 0.25 * 1.75));
  CHECK(DraftRates{0.6, 0.6}.tokens(5) == doctest::Approx(expected_tokens(0.6, 5)));
}

TEST_CASE("the number of drafts is the one with most tokens a second") {
  for (const double row : {0.0, 0.02, 0.1, 0.3, 1.0})
    for (const double first : {0.0, 0.1, 0.3, 0.6, 0.9, 1.0})
      for (const double later : {0.0, 0.5, 0.95})
        for (const double each : {0.0, 0.05, 0.5}) {
          CAPTURE(row);
          CAPTURE(first);
          CAPTURE(later);
          CAPTURE(each);
          const DraftRates rates{first, later};
          const DraftChoice choice = best_drafts(rates, costs_with(row), 15, each);
          const auto gain = [&](std::size_t k) { return rates.tokens(k) / (1 + static_cast<double>(k) * (row + each)); };
          for (std::size_t k = 0; k <= 15; k++) CHECK(choice.gain * 1.06 >= gain(k));
          if (choice.drafts > 0) CHECK(choice.gain == doctest::Approx(gain(choice.drafts)));
          if (choice.drafts == 0) CHECK(choice.gain == 1);
        }
  const DraftRates sure{1, 1};
  CHECK(best_drafts(sure, costs_with(0), 15).drafts == 15);
  CHECK(best_drafts(sure, costs_with(0), 4).drafts == 4);
  CHECK(best_drafts(sure, costs_with(0), 0).drafts == 0);
  CHECK(best_drafts({0, 1}, costs_with(0), 15).drafts == 0);
  CHECK(best_drafts(sure, costs_with(1.0), 15).drafts == 0);  // a row costs as much as a step
  CHECK(best_drafts(sure, StepCosts(16), 15).drafts == 0);    // nothing is known of this machine
  // Wrong at once or right for long: more drafts than where each is as often wrong.
  CHECK(best_drafts({0.4, 0.95}, costs_with(0.02), 15).drafts > 2 * best_drafts({0.4, 0.4}, costs_with(0.02), 15).drafts);
}

TEST_CASE("acceptance follows what is seen and forgets what was") {
  Acceptance acceptance({0.8, 0.3});
  CHECK(acceptance.rates().first == doctest::Approx(0.8));
  CHECK(acceptance.rates().later == doctest::Approx(0.3));
  for (int i = 0; i < 100; i++) acceptance.saw(0, true);
  CHECK(acceptance.rates().first < 0.01);
  CHECK(acceptance.rates().later == doctest::Approx(0.3));  // nothing was seen of them
  for (int i = 0; i < 100; i++) acceptance.saw(4, true);
  CHECK(acceptance.rates().first > 0.99);
  CHECK(acceptance.rates().later == doctest::Approx(0.75).epsilon(0.02));
  for (int i = 0; i < 100; i++) acceptance.saw(5, false);
  CHECK(acceptance.rates().later > 0.99);
  const double before = acceptance.rates().first;
  acceptance.saw(0, false);  // none was looked at
  CHECK(acceptance.rates().first == before);
}

TEST_CASE("what a step costs lies between what was measured, and one disturbed step does not change much") {
  StepCosts costs(16);
  CHECK(costs.of(1) == 0);
  costs.measured(1, 1);
  CHECK(costs.of(1) == 1);
  CHECK(costs.of(5) > 1);
  costs.measured(9, 1.8);
  CHECK(costs.of(5) == doctest::Approx(1.4));
  CHECK(costs.of(13) == doctest::Approx(2.2));
  costs.measured(1, 100);
  CHECK(costs.of(1) < 1.5);
  CHECK(costs.of(17) == 0);
  costs.measured(17, 1);  // no such row: ignored
  costs.measured(4, 0.9);
  CHECK(costs.of(1) == 0.9);  // fewer rows never take longer
  StepCosts prompt(16);
  prompt.measured(1, 1);
  prompt.prompt(100, 2);
  CHECK(prompt.of(11) == doctest::Approx(1.2));
}
