#include "offload/card_prediction.h"

#include <algorithm>
#include <exception>
#include <limits>
#include <vector>

#include "base/error.h"

namespace leafcutter::offload {
namespace {

using compress::LeafIndex;

// A step's time settles as soon as the rings have gone round once; a step of many copies and reads turns them many times by itself.
constexpr std::size_t kWarmSteps = 2, kCountedSteps = 3;
constexpr std::size_t kManyTurns = 1024;
constexpr int kShares = 32;  // shares that are tried: 0, 1/32 .. 1
constexpr int kFiner = 2;    // then halves of what lies before the chosen one, so many times
// Where the host's memory is the limit, it makes hardly a difference who reads it: of shares as good as the best but for this the least is taken, which leaves the host's processors the most of their time.
constexpr double kAsGood = 0.005;
// A bound is a sum of fractions, and so is what is played.
constexpr double kRounding = 1e-3;

CardStepTime play_decode(const CardStep& step, const DeviceRates& rates) {
  const bool many = step.copies.size() + step.disk.size() >= kManyTurns;
  return simulate_card(step, rates.card, rates.host, many ? 1 : kWarmSteps, many ? 1 : kCountedSteps);
}

CardStepTime play_prefill(const CardStep& step, const DeviceRates& rates) { return simulate_card(step, rates.card, rates.host, 0, 1); }

// Of the shares 0 to 1 that are tried the least with which a step is as short as with any but for kAsGood. step(share) makes it, play(step) takes its time. Shares whose bound is longer than the best so far
// are not played: most of them.
template <class Step, class Play>
double best_share(const DeviceRates& rates, Step&& step, Play&& play) {
  struct Tried {
    int share;
    double bound, seconds;
  };
  std::vector<Tried> tried;
  for (int i = 0; i <= kShares; i++) {
    const double bound = card_bounds(step(static_cast<double>(i) / kShares), rates.card, rates.host).bound();
    tried.push_back({i, bound * (1 - kRounding), std::numeric_limits<double>::infinity()});
  }
  std::stable_sort(tried.begin(), tried.end(), [](const Tried& a, const Tried& b) { return a.bound < b.bound; });
  double good = std::numeric_limits<double>::infinity();
  for (Tried& t : tried) {
    if (t.bound > good) break;
    t.seconds = play(step(static_cast<double>(t.share) / kShares)).seconds;
    good = std::min(good, t.seconds * (1 + kAsGood));
  }
  int first = kShares;
  for (const Tried& t : tried)
    if (t.seconds <= good) first = std::min(first, t.share);
  double share = static_cast<double>(first) / kShares, width = 1.0 / kShares;
  for (int i = 0; i < kFiner && first > 0; i++) {
    width /= 2;
    if (play(step(share - width)).seconds <= good) share -= width;
  }
  return share;
}

struct Search {
  const LeafIndex& index;
  const CardWish& wish;
  const DeviceRates& rates;

  CardStep decode_step(const DevicePlan& plan, const Sides& sides) const {
    return card_step(index, plan, sides, wish.decode, rates.card, rates.host);
  }
  CardStep prefill_step(const DevicePlan& plan, const Sides& sides) const {
    return card_step(index, plan, sides, wish.prefill, rates.card, rates.host);
  }

  void finish(CardCandidate& candidate) const {
    const DevicePlan& plan = candidate.plan;
    candidate.decode = play_decode(decode_step(plan, plan.decode), rates);
    candidate.prefill = play_prefill(prefill_step(plan, plan.prefill), rates);
    candidate.prompt_seconds = candidate.prefill.seconds * static_cast<double>(wish.prefill_passes);
    candidate.load_seconds = static_cast<double>(plan.device_resident_bytes + plan.host_resident_bytes) / rates.host.disk_bytes_per_s;
  }

  CardCandidate plain(const std::string& strategy, DevicePlan plan) const {
    CardCandidate candidate;
    candidate.strategy = strategy;
    candidate.plan = std::move(plan);
    const bool all_on_card = candidate.plan.host_resident_bytes == 0 && candidate.plan.streamed_bytes == 0;
    candidate.host_share = candidate.prefill_host_share = all_on_card || candidate.plan.device_ring_bytes > 0 ? 0 : 1;
    finish(candidate);
    return candidate;
  }

  // Residents and ring of the streaming plan; the shares are free.
  CardCandidate mixed(const DevicePlan& streaming) const {
    CardCandidate candidate;
    candidate.strategy = "mixed";
    candidate.plan = streaming;
    const auto sides = [&](double share) { return with_host_share(index, streaming, share); };
    candidate.host_share = best_share(
        rates, [&](double share) { return decode_step(streaming, sides(share)); },
        [&](const CardStep& s) { return play_decode(s, rates); });
    candidate.prefill_host_share = best_share(
        rates, [&](double share) { return prefill_step(streaming, sides(share)); },
        [&](const CardStep& s) { return play_prefill(s, rates); });
    candidate.plan.decode = with_host_share(index, streaming, candidate.host_share);
    candidate.plan.prefill = with_host_share(index, streaming, candidate.prefill_host_share);
    finish(candidate);
    return candidate;
  }
};

}  // namespace

CardPrediction predict_card(const LeafIndex& index, const DeviceRequest& request, const CardWish& wish, const DeviceRates& rates) {
  const Search search{index, wish, rates};
  CardPrediction prediction;
  std::exception_ptr refusal;
  const auto consider = [&](auto&& make) {
    try {
      prediction.strategies.push_back(make());
    } catch (const Error& e) {
      if (e.kind() != ErrorKind::out_of_budget) throw;
      if (!refusal) refusal = std::current_exception();
    }
  };
  consider([&] { return search.plain("streaming", place(index, request, Residents::even, true)); });
  consider([&] { return search.plain("static split", place(index, request, Residents::last_layers, false)); });
  consider([&] {
    CardCandidate best = search.mixed(place(index, request, Residents::even, true));
    if (best.plan.device_ring_bytes == 0 || best.host_share < 1) return best;
    // Where the host computes everything, the ring's memory is better used by residents.
    CardCandidate without = search.plain("mixed", place(index, request, Residents::even, false));
    return without.decode.seconds < best.decode.seconds ? without : best;
  });
  if (prediction.strategies.empty()) std::rethrow_exception(refusal);
  const auto better = [](const CardCandidate& a, const CardCandidate& b) {
    return a.decode.seconds != b.decode.seconds ? a.decode.seconds < b.decode.seconds : a.prompt_seconds < b.prompt_seconds;
  };
  const auto best = std::min_element(prediction.strategies.begin(), prediction.strategies.end(), better);
  prediction.chosen = static_cast<std::size_t>(best - prediction.strategies.begin());
  return prediction;
}

}  // namespace leafcutter::offload
