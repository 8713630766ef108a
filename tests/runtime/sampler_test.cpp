#include "runtime/sampler.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>

#include "base/error.h"
#include "kernels/elementwise.h"

using namespace leafcutter;
using namespace leafcutter::runtime;

namespace {

const std::vector<float> kLogits = {1.0f, 3.0f, 2.5f, -1.0f, 0.0f, 2.9f, -8.0f, 1.5f};

SamplingOptions all_open() {
  SamplingOptions o;
  o.temperature = 1;
  o.top_k = 0;
  o.top_p = 1;
  o.min_p = 0;
  return o;
}

// What the options say, from their definitions: probabilities of every id.
std::vector<double> expected(std::vector<float> logits, const SamplingOptions& o, std::span<const std::uint32_t> history,
                             std::uint32_t limit) {
  logits.resize(std::min<std::size_t>(logits.size(), limit));
  const std::size_t window = o.repetition_window == 0 ? history.size() : std::min<std::size_t>(history.size(), o.repetition_window);
  std::vector<bool> seen(logits.size());
  for (const std::uint32_t id : history.last(window))
    if (id < logits.size()) seen[id] = true;
  for (std::size_t i = 0; i < logits.size(); i++)
    if (seen[i]) logits[i] = logits[i] > 0 ? logits[i] / o.repetition_penalty : logits[i] * o.repetition_penalty;
  std::vector<std::size_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return logits[a] > logits[b]; });
  if (o.top_k > 0) order.resize(std::min<std::size_t>(order.size(), o.top_k));
  const auto probabilities = [&](double temperature) {
    std::vector<double> p;
    double sum = 0;
    for (const std::size_t i : order) sum += p.emplace_back(std::exp((logits[i] - logits[order[0]]) / temperature));
    for (double& v : p) v /= sum;
    return p;
  };
  if (o.top_p < 1) {
    const std::vector<double> p = probabilities(1);
    double sum = 0;
    std::size_t kept = 0;
    while (kept < p.size() && sum < o.top_p) sum += p[kept++];
    order.resize(std::max<std::size_t>(kept, 1));
  }
  if (o.min_p > 0) {
    const std::vector<double> p = probabilities(1);
    std::size_t kept = 1;
    while (kept < p.size() && p[kept] >= o.min_p * p[0]) kept++;
    order.resize(kept);
  }
  const std::vector<double> p = probabilities(o.temperature);
  std::vector<double> all(logits.size());
  for (std::size_t i = 0; i < order.size(); i++) all[order[i]] = p[i];
  return all;
}

void check_distribution(const SamplingOptions& options, std::span<const std::uint32_t> history = {}, std::uint32_t limit = ~0u) {
  constexpr int kDraws = 20'000;
  Sampler sampler(options);
  std::vector<int> counts(kLogits.size());
  for (int i = 0; i < kDraws; i++) counts.at(sampler.sample(kLogits, history, limit))++;
  std::vector<double> p = expected(kLogits, options, history, limit);
  p.resize(kLogits.size());
  for (std::size_t i = 0; i < p.size(); i++) {
    CAPTURE(i);
    if (p[i] == 0) CHECK(counts[i] == 0);
    const double deviation = std::sqrt(kDraws * p[i] * (1 - p[i]));
    CHECK(std::abs(counts[i] - kDraws * p[i]) <= 5 * deviation + 1e-9);
  }
}

}  // namespace

TEST_CASE("draws follow the definitions of temperature, top-k, top-p, min-p and the penalty, alone and together") {
  const std::vector<std::uint32_t> history = {1, 3, 3, 5, 6};
  check_distribution(all_open());
  for (const float temperature : {0.3f, 2.0f}) {
    SamplingOptions o = all_open();
    o.temperature = temperature;
    check_distribution(o);
  }
  for (const std::uint32_t k : {1u, 3u, 100u}) {
    SamplingOptions o = all_open();
    o.top_k = k;
    check_distribution(o);
  }
  for (const float p : {0.2f, 0.7f, 0.97f}) {
    SamplingOptions o = all_open();
    o.top_p = p;
    check_distribution(o);
  }
  for (const float p : {0.1f, 0.6f}) {
    SamplingOptions o = all_open();
    o.min_p = p;
    check_distribution(o);
  }
  for (const std::uint32_t window : {0u, 2u}) {
    SamplingOptions o = all_open();
    o.repetition_penalty = 1.7f;
    o.repetition_window = window;
    check_distribution(o, history);
  }
  SamplingOptions o = all_open();
  o.temperature = 0.8f;
  o.top_k = 5;
  o.top_p = 0.9f;
  o.min_p = 0.2f;
  o.repetition_penalty = 1.3f;
  check_distribution(o, history);
  check_distribution(all_open(), {}, 3);
}

TEST_CASE("draws from thousands of ids follow the definitions, however far down they go") {
  std::mt19937 random(4);
  std::normal_distribution<float> spread(0, 1.5f);
  std::vector<float> logits(2000);
  for (float& logit : logits) logit = spread(random);
  std::vector<std::uint32_t> by_rank(logits.size());
  std::iota(by_rank.begin(), by_rank.end(), 0);
  std::sort(by_rank.begin(), by_rank.end(), [&](std::uint32_t a, std::uint32_t b) { return logits[a] > logits[b]; });
  for (const std::uint32_t top_k : {0u, 700u})
    for (const float top_p : {1.0f, 0.9f})
      for (const float min_p : {0.0f, 0.02f})
        for (const float temperature : {0.7f, 3.0f}) {
          const SamplingOptions o{.temperature = temperature, .top_k = top_k, .top_p = top_p, .min_p = min_p, .seed = 3};
          CAPTURE(top_k);
          CAPTURE(top_p);
          CAPTURE(min_p);
          CAPTURE(temperature);
          constexpr int kDraws = 600;
          constexpr std::size_t kBlock = 100;  // ids that are counted together, neighbours in rank
          const std::vector<double> p = expected(logits, o, {}, ~0u);
          std::vector<int> draws(logits.size());
          Sampler sampler(o);
          for (int i = 0; i < kDraws; i++) draws.at(sampler.sample(logits, {}, ~0u))++;
          for (std::size_t begin = 0; begin < logits.size(); begin += kBlock) {
            CAPTURE(begin);
            double probability = 0;
            int count = 0;
            for (std::size_t i = begin; i < begin + kBlock; i++) {
              probability += p[by_rank[i]];
              count += draws[by_rank[i]];
              if (p[by_rank[i]] == 0) CHECK(draws[by_rank[i]] == 0);
            }
            CHECK(std::abs(count - kDraws * probability) <=
                  5 * std::sqrt(kDraws * probability * (1 - probability)) + 1e-9 + 5 * (probability < 0.01));
          }
        }
}

TEST_CASE("temperature 0 takes the largest logit, of equal ones the first, whatever else is set") {
  SamplingOptions o;
  o.temperature = 0;
  o.repetition_penalty = 5;
  Sampler sampler(o);
  const std::vector<float> logits = {0, 7, 2, 7};
  const std::vector<std::uint32_t> history = {1, 1};
  CHECK(sampler.sample(logits, history, 4) == 1);
  CHECK(sampler.sample(logits, history, 1) == 0);
}

TEST_CASE("the same seed draws the same ids, another seed others") {
  const auto draw = [](std::uint64_t seed) {
    SamplingOptions o = all_open();
    o.seed = seed;
    Sampler sampler(o);
    std::vector<std::uint32_t> ids;
    for (int i = 0; i < 64; i++) ids.push_back(sampler.sample(kLogits, {}, ~0u));
    return ids;
  };
  CHECK(draw(5) == draw(5));
  CHECK(draw(5) != draw(6));
  CHECK(draw(0) != draw(1));
}

TEST_CASE("logits that are no numbers never lead past the vocabulary") {
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  for (const float temperature : {0.0f, 1.0f})
    for (const std::vector<float>& logits :
         {std::vector<float>{nan, nan, nan}, {nan, 1, 2}, {1, nan, 2}, {inf, 1, 2}, {-inf, -inf, -inf}, {-inf, 0, -inf}, {inf, inf, nan}}) {
      SamplingOptions o = all_open();
      o.temperature = temperature;
      Sampler sampler(o);
      for (int i = 0; i < 50; i++) CHECK(sampler.sample(logits, {}, 3) < 3);
    }
  SamplingOptions o = all_open();
  Sampler sampler(o);
  for (int i = 0; i < 50; i++) CHECK(sampler.sample(std::vector<float>{-inf, 0, -inf}, {}, 3) == 1);
}

TEST_CASE("options out of range are refused by their flag") {
  const auto refused = [](auto&& change, const char* flag) {
    SamplingOptions o;
    change(o);
    CHECK_THROWS_WITH_AS(validate(o), doctest::Contains(flag), Error);
  };
  refused([](SamplingOptions& o) { o.temperature = -1; }, "--temp");
  refused([](SamplingOptions& o) { o.temperature = std::numeric_limits<float>::quiet_NaN(); }, "--temp");
  refused([](SamplingOptions& o) { o.top_p = 0; }, "--top-p");
  refused([](SamplingOptions& o) { o.top_p = 1.5f; }, "--top-p");
  refused([](SamplingOptions& o) { o.min_p = 1; }, "--min-p");
  refused([](SamplingOptions& o) { o.repetition_penalty = 0; }, "--repeat-penalty");
  CHECK_NOTHROW(validate(SamplingOptions{}));
}

TEST_CASE("the best logits are enough for what a sampler says, and give what all of them would, draw by draw") {
  std::mt19937 random(5);
  std::normal_distribution<float> normal(0, 3);
  std::size_t asked = 0;
  for (unsigned i = 0; i < 400; i++) {
    SamplingOptions o;
    o.temperature = i % 4 == 0 ? 0 : 0.5f + static_cast<float>(i % 3);
    o.top_k = i % 5 == 0 ? 0 : i % 60;
    o.top_p = i % 2 ? 1 : 0.9f;
    o.min_p = i % 3 ? 0 : 0.05f;
    o.repetition_penalty = i % 7 == 0 ? 1.2f : 1;
    o.temperature_first = i % 11 == 0;
    o.seed = i;
    std::vector<float> logits(50);
    for (float& logit : logits) {
      logit = normal(random);
      if (i % 6 == 1) logit = std::round(logit);  // many equal ones
      if (i % 6 == 2 && random() % 3 > 0) logit = random() % 2 ? NAN : -INFINITY;
      if (i % 60 == 3) logit = random() % 2 ? NAN : -INFINITY;
    }
    Sampler from_all(o), from_best(o);
    const std::uint32_t limit = 45, needed = from_best.best_needed();
    const bool all_needed = o.temperature > 0 && (o.top_k == 0 || o.repetition_penalty != 1 || o.temperature_first);
    CHECK((needed == 0) == all_needed);
    if (needed == 0) continue;
    asked++;
    std::vector<kernels::Ranked> best(std::min(needed, limit));
    kernels::top_k(std::span(logits).first(limit), best);
    for (int draw = 0; draw < 20; draw++) CHECK(from_best.sample_best(best) == from_all.sample(logits, {}, limit));
  }
  CHECK(asked > 100);
}
