#include "offload/card_prediction.h"

#include <algorithm>
#include <exception>
#include <vector>

#include "base/error.h"

namespace leafcutter::offload {
namespace {

using compress::LeafIndex;

// A step's time settles as soon as the rings have gone round once.
constexpr std::size_t kWarmSteps = 2, kCountedSteps = 3;
constexpr int kShares = 32;  // shares that are tried: 0, 1/32 .. 1
constexpr int kFiner = 2;    // then halves of what lies before the chosen one, so many times
// Where the host's memory is the limit, it makes hardly a difference who reads it: of shares as good as the best but for this the least is taken, which leaves the host's processors the most of their time.
constexpr double kAsGood = 0.005;

CardStepTime play_decode(const LeafIndex& index, const DevicePlan& plan, const Sides& sides, const CardWish& wish, const Card& card,
                         const CardHost& host) {
  return simulate_card(card_step(index, plan, sides, wish.decode, card, host), card, host, kWarmSteps, kCountedSteps);
}

CardStepTime play_prefill(const LeafIndex& index, const DevicePlan& plan, const Sides& sides, const CardWish& wish, const Card& card,
                          const CardHost& host) {
  return simulate_card(card_step(index, plan, sides, wish.prefill, card, host), card, host, 0, 1);
}

// The least share, 0 to 1, for which seconds(share) is the least but for kAsGood.
template <class Seconds>
double best_share(Seconds&& seconds) {
  std::vector<double> tried;
  for (int i = 0; i <= kShares; i++) tried.push_back(seconds(static_cast<double>(i) / kShares));
  const double good = *std::min_element(tried.begin(), tried.end()) * (1 + kAsGood);
  const auto first = std::find_if(tried.begin(), tried.end(), [&](double time) { return time <= good; }) - tried.begin();
  double share = static_cast<double>(first) / kShares, width = 1.0 / kShares;
  for (int i = 0; i < kFiner && first > 0; i++) {
    width /= 2;
    if (seconds(share - width) <= good) share -= width;
  }
  return share;
}

struct Search {
  const LeafIndex& index;
  const CardWish& wish;
  const Card& card;
  const CardHost& host;

  void finish(CardCandidate& candidate) const {
    const DevicePlan& plan = candidate.plan;
    candidate.decode = play_decode(index, plan, plan.decode, wish, card, host);
    candidate.prefill = play_prefill(index, plan, plan.prefill, wish, card, host);
    candidate.prompt_seconds = candidate.prefill.seconds * static_cast<double>(wish.prefill_passes);
    candidate.load_seconds = static_cast<double>(plan.device_resident_bytes + plan.host_resident_bytes) / host.disk_bytes_per_s;
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
    candidate.host_share = best_share(
        [&](double share) { return play_decode(index, streaming, with_host_share(index, streaming, share), wish, card, host).seconds; });
    candidate.prefill_host_share = best_share(
        [&](double share) { return play_prefill(index, streaming, with_host_share(index, streaming, share), wish, card, host).seconds; });
    candidate.plan.decode = with_host_share(index, streaming, candidate.host_share);
    candidate.plan.prefill = with_host_share(index, streaming, candidate.prefill_host_share);
    finish(candidate);
    return candidate;
  }
};

}  // namespace

CardPrediction predict_card(const LeafIndex& index, const DeviceRequest& request, const CardWish& wish, const Card& card,
                            const CardHost& host) {
  const Search search{index, wish, card, host};
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
