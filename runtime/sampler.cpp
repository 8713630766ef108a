#include "runtime/sampler.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/error.h"
#include "kernels/elementwise.h"

namespace leafcutter::runtime {
namespace {

void require(bool holds, const char* option, const char* range, float found) {
  if (!holds) throw Error(ErrorKind::usage, option, std::string("expected ") + range + ", found " + std::to_string(found));
}

std::uint64_t split_mix(std::uint64_t& state) {
  std::uint64_t z = (state += 0x9e3779b97f4a7c15ull);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

constexpr std::size_t kSortedAtOnce = 256;  // a draw seldom gets further

bool likelier(const std::pair<float, std::uint32_t>& a, const std::pair<float, std::uint32_t>& b) {
  return a.first != b.first ? a.first > b.first : a.second < b.second;
}

}  // namespace

void validate(const SamplingOptions& o) {
  require(o.temperature >= 0 && o.temperature <= 100, "--temp", "0 to 100", o.temperature);
  require(o.top_p > 0 && o.top_p <= 1, "--top-p", "more than 0, at most 1", o.top_p);
  require(o.min_p >= 0 && o.min_p < 1, "--min-p", "0 to less than 1", o.min_p);
  require(o.repetition_penalty > 0 && o.repetition_penalty <= 100, "--repeat-penalty", "more than 0, at most 100", o.repetition_penalty);
}

Sampler::Sampler(const SamplingOptions& options) : options_(options) {
  std::uint64_t seed = options.seed;
  for (std::uint64_t& word : state_) word = split_mix(seed);
}

// xoroshiro128+ (Blackman and Vigna 2018); 53 bits.
double Sampler::random() {
  const std::uint64_t a = state_[0], sum = a + state_[1], b = state_[1] ^ a;
  const auto turn = [](std::uint64_t x, int k) { return x << k | x >> (64 - k); };
  state_[0] = turn(a, 24) ^ b ^ (b << 16);
  state_[1] = turn(b, 37);
  return static_cast<double>(sum >> 11) * 0x1p-53;
}

std::uint32_t Sampler::sample(std::span<const float> logits, std::span<const std::uint32_t> history, std::uint32_t limit) {
  logits = logits.first(std::min<std::size_t>(logits.size(), limit));
  if (options_.temperature == 0) return static_cast<std::uint32_t>(kernels::arg_max(logits));

  candidates_.clear();
  sorted_ = 0;
  candidates_.reserve(logits.size());
  for (std::uint32_t id = 0; id < logits.size(); id++)
    if (logits[id] > -INFINITY) candidates_.emplace_back(logits[id], id);  // NaN is left out too
  if (candidates_.empty()) return static_cast<std::uint32_t>(kernels::arg_max(logits));

  if (options_.repetition_penalty != 1) {
    const std::size_t window =
        options_.repetition_window == 0 ? history.size() : std::min<std::size_t>(history.size(), options_.repetition_window);
    if (seen_.capacity() < window) seen_.reserve(std::max<std::size_t>(2 * window, 64));
    seen_.assign(history.end() - static_cast<std::ptrdiff_t>(window), history.end());
    std::sort(seen_.begin(), seen_.end());
    for (auto& [logit, id] : candidates_)
      if (std::binary_search(seen_.begin(), seen_.end(), id))
        logit = logit > 0 ? logit / options_.repetition_penalty : logit * options_.repetition_penalty;
  }

  const double temperature = options_.temperature_first ? 1 : options_.temperature;
  if (options_.temperature_first)
    for (auto& candidate : candidates_) candidate.first /= options_.temperature;

  if (options_.top_k > 0) {
    sort_first(options_.top_k);
    candidates_.resize(std::min<std::size_t>(options_.top_k, candidates_.size()));
    sorted_ = candidates_.size();
  }
  return draw(temperature);
}

std::uint32_t Sampler::best_needed() const {
  if (options_.temperature == 0) return 1;
  return options_.repetition_penalty == 1 && !options_.temperature_first ? options_.top_k : 0;
}

std::uint32_t Sampler::sample_best(std::span<const kernels::Ranked> best) {
  candidates_.clear();
  if (options_.temperature > 0)
    for (const kernels::Ranked& candidate : best)
      if (candidate.value > -INFINITY) candidates_.emplace_back(candidate.value, candidate.index);
  sorted_ = candidates_.size();
  return candidates_.empty() ? best[0].index : draw(options_.temperature);
}

void Sampler::sort_first(std::size_t count) {
  if (count <= sorted_) return;
  const std::size_t end = std::min(candidates_.size(), std::max({count, 4 * sorted_, kSortedAtOnce}));
  const auto at = [&](std::size_t i) { return candidates_.begin() + static_cast<std::ptrdiff_t>(i); };
  if (end < candidates_.size()) std::nth_element(at(sorted_), at(end - 1), candidates_.end(), likelier);
  std::sort(at(sorted_), at(end), likelier);
  sorted_ = end;
}

// Sums come before what they are of is sorted, or behind it: how nth_element leaves the rest is the library's affair, and must not show in a sum's last digit.
std::uint32_t Sampler::draw(double temperature) {
  const double top =
      std::max_element(candidates_.begin(), candidates_.end(), [](const auto& a, const auto& b) { return a.first < b.first; })->first;
  const auto weight = [&](std::size_t i, double divisor) { return std::exp((candidates_[i].first - top) / divisor); };
  std::size_t kept = candidates_.size();
  if (options_.top_p < 1) {
    double all = 0, sum = 0;
    for (std::size_t i = 0; i < kept; i++) all += weight(i, 1);
    for (std::size_t i = 0; i < kept; i++) {
      sort_first(i + 1);
      if ((sum += weight(i, 1)) >= options_.top_p * all) kept = i + 1;
    }
  }
  if (options_.min_p > 0)
    for (std::size_t i = 1; i < kept; i++) {
      sort_first(i + 1);
      if (weight(i, 1) < options_.min_p) kept = i;
    }

  double all = 0;
  for (std::size_t i = 0; i < kept; i++) all += weight(i, temperature);
  double at = random() * all;
  for (std::size_t i = 0; i < kept; i++) {
    sort_first(i + 1);
    if ((at -= weight(i, temperature)) < 0) return candidates_[i].second;
  }
  return candidates_[kept - 1].second;
}

}  // namespace leafcutter::runtime
