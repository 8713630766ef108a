#include "offload/card_mix.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "base/error.h"
#include "offload/card_program.h"
#include "offload/even_spread.h"

namespace leafcutter::offload {
namespace {

// A step's time settles as soon as the rings have gone round once; a step of many copies and reads turns them many times by itself.
constexpr std::size_t kWarmCardSteps = 2, kCountedCardSteps = 3;
constexpr std::size_t kManyTurns = 1024;

constexpr double kWorth = 0.001;                            // a gain that counts, of a step
constexpr int kShares = 32, kSharesOfSome = 4;              // shares that are tried with even residents, and with some products held back
constexpr double kHeldBack[] = {1.0 / 8, 1.0 / 4};          // that are tried where everything fits
constexpr double kSteps[] = {1.0 / 8, 1.0 / 16, 1.0 / 32};  // of both numbers, in the end
constexpr int kRounds = 2, kRepeats = 4;                    // for each of these steps; of a change that helped
// Where the host's memory is the limit, it makes hardly a difference who reads it: in the end as little is the host's as costs no more than this, which leaves the host's processors the most of their time.
constexpr double kAsGood = 0.003, kSparing[] = {1.0 / 16, 1.0 / 32, 1.0 / 64, 1.0 / 128, 1.0 / 256, 1.0 / 512};

class MixSearch {
 public:
  MixSearch(const compress::LeafIndex& index, const DeviceRequest& request, const StepProgram& program, const DeviceRates& rates)
      : index_(index), request_(request), program_(program), rates_(rates) {
    for (const std::uint32_t c : chunks_of_products(index)) {
      const auto product = static_cast<std::size_t>(product_of(index, index.chunks[c]));
      bytes_[product] += static_cast<double>(slots_of(index, {c}));
    }
  }

  MixedStep run() {
    start_even();
    start_with_some();
    for (const double by : kSteps) refine(by);
    spare_host();
    best_.plan.decode = with_host_share(index_, best_.plan, best_.mix.share);
    return std::move(best_);
  }

 private:
  // Placements of shares that are tried one after another do not differ.
  const DevicePlan* placed(const PerProduct& held_back) {
    if (placed_ && placed_for_ == held_back) return fits_ ? &*placed_ : nullptr;
    placed_for_ = held_back;
    try {
      placed_ = place(index_, request_, Residents::even, true, held_back);
      fits_ = true;
    } catch (const Error& e) {
      if (e.kind() != ErrorKind::out_of_budget || !has_best_) throw;  // the first placement needs the least host memory
      placed_ = DevicePlan{};
      fits_ = false;
    }
    return fits_ ? &*placed_ : nullptr;
  }

  CardStep step_of(const DevicePlan& plan, const PerProduct& share) const {
    return card_step(index_, plan, with_host_share(index_, plan, share), program_, rates_.card, rates_.host);
  }

  // The best is better than this by less than what counts.
  bool is_hopeless(double seconds) const { return has_best_ && seconds >= best_.time.seconds * (1 - kWorth); }

  bool consider(const Mix& mix) {
    const DevicePlan* plan = placed(mix.held_back);
    if (!plan) return false;
    const CardStep step = step_of(*plan, mix.share);
    if (is_hopeless(card_bounds(step, rates_.card, rates_.host).bound())) return false;
    const CardStepTime time = play_step(step, rates_);
    if (is_hopeless(time.seconds)) return false;
    best_ = {mix, *plan, time};
    has_best_ = true;
    return true;
  }

  // One share for all products, those with the shortest bound first: most of the others need not be played then.
  void try_shares(const PerProduct& held_back, int shares) {
    const DevicePlan* plan = placed(held_back);
    if (!plan) return;
    std::vector<std::pair<double, int>> tried;
    for (int i = 0; i <= shares; i++) {
      const double bound = card_bounds(step_of(*plan, alike(i, shares)), rates_.card, rates_.host).bound();
      if (!is_hopeless(bound)) tried.emplace_back(bound, i);
    }
    std::sort(tried.begin(), tried.end());
    for (const auto& [bound, i] : tried) {
      if (is_hopeless(bound)) break;
      consider({held_back, alike(i, shares)});
    }
  }

  static PerProduct alike(int numerator, int denominator) {
    PerProduct share;
    share.fill(static_cast<double>(numerator) / denominator);
    return share;
  }

  void start_even() {
    try_shares({}, kShares);
    const DevicePlan& plan = *placed({});
    double on_card = static_cast<double>(plan.device_resident_bytes), all = 0;
    for (const double bytes : bytes_) all += bytes;
    missing_ = all - on_card;
  }

  // Some products stay on the card as a whole and the others give way: every set of them that is large enough.
  void start_with_some() {
    for (unsigned set = 1; set < 1U << kProducts; set++) {
      double of_set = 0;
      bool is_empty = false;
      for (std::size_t p = 0; p < kProducts; p++)
        if (set >> p & 1) {
          of_set += bytes_[p];
          is_empty = is_empty || bytes_[p] == 0;
        }
      if (is_empty || of_set < missing_) continue;
      const auto try_held_back = [&](double share) {
        PerProduct held_back{};
        for (std::size_t p = 0; p < kProducts; p++) held_back[p] = set >> p & 1 ? share : 0;
        try_shares(held_back, kSharesOfSome);
      };
      if (missing_ > 0)
        try_held_back(missing_ / of_set);
      else
        for (const double share : kHeldBack) try_held_back(share);
    }
  }

  // Changes by steps of one size: both numbers of one product, each up or down or not at all; the host's share from one product to another. A change that helps is made again.
  void refine(double by) {
    for (int round = 0; round < kRounds; round++) {
      bool moved = false;
      for (std::size_t p = 0; p < kProducts; p++) {
        if (bytes_[p] == 0) continue;
        for (const int share : {-1, 0, 1})
          for (const int held_back : {-1, 0, 1})
            moved |= repeat([&](Mix& mix) {
              mix.share[p] += by * share;
              mix.held_back[p] += by * held_back;
            });
        for (std::size_t other = 0; other < kProducts; other++) {
          if (other == p || bytes_[other] == 0) continue;
          const double part = std::min(1.0, bytes_[other] / bytes_[p]);
          moved |= repeat([&](Mix& mix) {
            mix.share[p] += by * part;
            mix.share[other] -= by * part * bytes_[p] / bytes_[other];
          });
        }
      }
      if (!moved) return;
    }
  }

  template <class Change>
  bool repeat(Change&& change) {
    bool moved = false;
    for (int i = 0; i < kRepeats; i++) {
      Mix mix = best_.mix;
      change(mix);
      for (PerProduct* numbers : {&mix.share, &mix.held_back})
        for (double& number : *numbers) number = std::clamp(number, 0.0, 1.0);
      if ((mix.share == best_.mix.share && mix.held_back == best_.mix.held_back) || !consider(mix)) break;
      moved = true;
    }
    return moved;
  }

  void spare_host() {
    const double good = best_.time.seconds * (1 + kAsGood);
    for (const double by : kSparing) {
      Mix mix = best_.mix;
      for (double& share : mix.share) share = std::max(0.0, share - by);
      const CardStepTime time = play_step(step_of(best_.plan, mix.share), rates_);
      if (time.seconds > good) continue;
      best_.mix = mix;
      best_.time = time;
    }
  }

  const compress::LeafIndex& index_;
  const DeviceRequest& request_;
  const StepProgram& program_;
  const DeviceRates& rates_;
  PerProduct bytes_{};  // slots of all chunks
  double missing_ = 0;  // of them, what the card has no room for
  std::optional<DevicePlan> placed_;
  PerProduct placed_for_{};
  bool fits_ = false, has_best_ = false;
  MixedStep best_;
};

}  // namespace

CardStepTime play_step(const CardStep& step, const DeviceRates& rates) {
  const bool many = step.copies.size() + step.disk.size() >= kManyTurns;
  CardStepTime time = simulate_card(step, rates.card, rates.host, many ? 1 : kWarmCardSteps, many ? 1 : kCountedCardSteps);
  // Where the link is hardly the limit, these few steps still live on what the ring held before them.
  time.seconds = std::max(time.seconds, time.bound());
  return time;
}

MixedStep best_mix(const compress::LeafIndex& index, const DeviceRequest& request, const StepProgram& program, const DeviceRates& rates) {
  return MixSearch(index, request, program, rates).run();
}

}  // namespace leafcutter::offload
