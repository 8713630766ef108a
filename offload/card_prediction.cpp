#include "offload/card_prediction.h"

#include <algorithm>
#include <exception>
#include <limits>
#include <vector>

#include "base/error.h"

namespace leafcutter::offload {
namespace {

using compress::LeafIndex;

constexpr int kShares = 32;  // shares that are tried: 0, 1/32 .. 1
constexpr int kFiner = 2;    // then halves of what lies before the chosen one, so many times
// Where the host's memory is the limit, it makes hardly a difference who reads it: of shares as good as the best but for this the least is taken, which leaves the host's processors the most of their time.
constexpr double kAsGood = 0.005;
// A bound is a sum of fractions, and so is what is played.
constexpr double kRounding = 1e-3;

// From empty rings.
CardStepTime play_prefill(const CardStep& step, const DeviceRates& rates) { return simulate_card(step, rates.card, rates.host, 0, 1); }

// What of the bytes that are not on the card the host computes.
double host_share_of(const LeafIndex& index, const DevicePlan& plan, const Sides& sides) {
  std::uint64_t host = 0, all = 0;
  for (const std::uint32_t c : chunks_of_products(index)) {
    if (plan.residence[c] == Tier::device) continue;
    host += bytes_of_first_strips(index, index.chunks[c], sides.host_strips[c]);
    all += product_bytes(index, index.chunks[c]);
  }
  return all == 0 ? 0 : static_cast<double>(host) / static_cast<double>(all);
}

struct Search {
  const LeafIndex& index;
  const CardWish& wish;
  const DeviceRates& rates;

  CardStep prefill_step(const DevicePlan& plan, const Sides& sides) const {
    return card_step(index, plan, sides, wish.prefill, rates.card, rates.host);
  }

  CardCandidate finish(const std::string& strategy, DevicePlan plan) const {
    CardCandidate candidate;
    candidate.strategy = strategy;
    candidate.plan = std::move(plan);
    const DevicePlan& p = candidate.plan;
    candidate.host_share = host_share_of(index, p, p.decode);
    candidate.prefill_host_share = host_share_of(index, p, p.prefill);
    candidate.decode = play_step(card_step(index, p, p.decode, wish.decode, rates.card, rates.host), rates);
    candidate.prefill = play_prefill(prefill_step(p, p.prefill), rates);
    candidate.prompt_seconds = candidate.prefill.seconds * static_cast<double>(wish.prefill_passes);
    candidate.load_seconds = static_cast<double>(p.device_resident_bytes + p.host_resident_bytes) / rates.host.disk_bytes_per_s;
    return candidate;
  }

  // Of the shares 0 to 1 the least with which a pass of the prompt is as short as with any but for kAsGood. Shares whose bound is longer than the best so far are not played: most of them.
  Sides best_prefill(const DevicePlan& plan) const {
    struct Tried {
      int share;
      double bound, seconds;
    };
    const auto step = [&](double share) { return prefill_step(plan, with_host_share(index, plan, share)); };
    std::vector<Tried> tried;
    for (int i = 0; i <= kShares; i++) {
      const double bound = card_bounds(step(static_cast<double>(i) / kShares), rates.card, rates.host).bound();
      tried.push_back({i, bound * (1 - kRounding), std::numeric_limits<double>::infinity()});
    }
    std::stable_sort(tried.begin(), tried.end(), [](const Tried& a, const Tried& b) { return a.bound < b.bound; });
    double good = std::numeric_limits<double>::infinity();
    for (Tried& t : tried) {
      if (t.bound > good) break;
      t.seconds = play_prefill(step(static_cast<double>(t.share) / kShares), rates).seconds;
      good = std::min(good, t.seconds * (1 + kAsGood));
    }
    int first = kShares;
    for (const Tried& t : tried)
      if (t.seconds <= good) first = std::min(first, t.share);
    double share = static_cast<double>(first) / kShares, width = 1.0 / kShares;
    for (int i = 0; i < kFiner && first > 0; i++) {
      width /= 2;
      if (play_prefill(step(share - width), rates).seconds <= good) share -= width;
    }
    return with_host_share(index, plan, share);
  }

  CardCandidate mixed(const DeviceRequest& request) const {
    DevicePlan plan = best_mix(index, request, wish.decode, rates).plan;
    plan.prefill = best_prefill(plan);
    CardCandidate best = finish("mixed", std::move(plan));
    if (best.plan.device_ring_bytes == 0 || best.host_share < 1) return best;
    // Where the host computes everything, the ring's memory is better used by residents.
    CardCandidate without = finish("mixed", place(index, request, Residents::even, false));
    return without.decode.seconds < best.decode.seconds ? without : best;
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
  consider([&] { return search.finish("streaming", place(index, request, Residents::even, true)); });
  consider([&] { return search.finish("static split", place(index, request, Residents::last_layers, false)); });
  consider([&] { return search.mixed(request); });
  if (prediction.strategies.empty()) std::rethrow_exception(refusal);
  const auto better = [](const CardCandidate& a, const CardCandidate& b) {
    return a.decode.seconds != b.decode.seconds ? a.decode.seconds < b.decode.seconds : a.prompt_seconds < b.prompt_seconds;
  };
  const auto best = std::min_element(prediction.strategies.begin(), prediction.strategies.end(), better);
  prediction.chosen = static_cast<std::size_t>(best - prediction.strategies.begin());
  return prediction;
}

}  // namespace leafcutter::offload
