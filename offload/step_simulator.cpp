#include "offload/step_simulator.h"

#include <algorithm>
#include <deque>
#include <limits>
#include <vector>

#include "offload/byte_ring.h"

namespace leafcutter::offload {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

class Simulation {
 public:
  Simulation(std::span<const SimulatedChunk> step, std::uint64_t ring_bytes, const SimulationRates& rates)
      : step_(step), rates_(rates), ring_(static_cast<std::size_t>(ring_bytes)) {
    for (std::size_t i = 0; i < step.size(); i++)
      if (step[i].streamed) streamed_.push_back(i);
  }

  // Ends when `steps` steps were computed; gives the clock.
  void run_to(std::size_t steps) {
    issue();
    start_compute();
    while (steps_done_ < steps) advance();
  }

  double now() const { return now_; }
  StepSimulation busy() const { return busy_; }

 private:
  struct Read {
    std::size_t turn;
    double arrival;
    bool last;  // of its chunk
  };
  struct Check {
    std::size_t turn;
    double left;  // seconds at its own speed
  };
  struct Region {
    std::size_t offset;
    bool ready = false;
    bool released = false;
  };

  const SimulatedChunk& chunk_of(std::size_t turn) const { return step_[streamed_[turn % streamed_.size()]]; }
  Region& region(std::size_t turn) { return regions_[turn - first_]; }

  // In pieces, as the pager does.
  void issue() {
    if (streamed_.empty()) return;
    while (reads_.size() < rates_.reads.in_flight) {
      if (to_ask_ == 0) {
        const SimulatedChunk& chunk = chunk_of(issued_);
        const auto at = ring_.take(static_cast<std::size_t>(chunk.slot_bytes));
        if (!at) return;
        regions_.push_back({*at});
        issued_++;
        to_ask_ = std::max<std::uint64_t>(1, chunk.read_bytes);
      }
      const std::uint64_t piece = std::min<std::uint64_t>(to_ask_, rates_.reads.bytes);
      to_ask_ -= piece;
      last_arrival_ = std::max(last_arrival_, now_ + rates_.read_latency_s) + static_cast<double>(piece) / rates_.disk_bytes_per_s;
      reads_.push_back({issued_ - 1, last_arrival_, to_ask_ == 0});
    }
  }

  void start_checks() {
    while (checks_.size() < rates_.checkers && !arrived_.empty()) {
      checks_.push_back({arrived_.front(), chunk_of(arrived_.front()).check_seconds});
      arrived_.pop_front();
    }
  }

  // The next visit begins as soon as its chunk is there.
  void start_compute() {
    if (computing_) return;
    const SimulatedChunk& chunk = step_[visit_];
    if (chunk.streamed) {
      if (acquired_ >= issued_ || !region(acquired_).ready) return;
      held_.push_back({acquired_++, visits_done_ + chunk.held});
    }
    computing_ = true;
    compute_left_ = chunk.compute_seconds;
  }

  void end_compute() {
    computing_ = false;
    while (!held_.empty() && held_.front().until <= visits_done_) {
      region(held_.front().turn).released = true;
      held_.pop_front();
    }
    visits_done_++;
    if (++visit_ == step_.size()) {
      visit_ = 0;
      steps_done_++;
    }
    while (!regions_.empty() && regions_.front().released) {
      regions_.pop_front();
      first_++;
      ring_.give_back_oldest(regions_.empty() ? 0 : regions_.front().offset);
    }
    issue();
    start_compute();
  }

  // To the next event: a read arrives, a check or a visit ends.
  void advance() {
    const double compute_speed = checks_.empty() ? 1 : rates_.compute_beside_check;
    const double check_speed = computing_ ? rates_.check_beside_compute : 1;
    double next = reads_.empty() ? kNever : reads_.front().arrival;
    if (computing_) next = std::min(next, now_ + compute_left_ / compute_speed);
    for (const Check& check : checks_) next = std::min(next, now_ + check.left / check_speed);
    if (next == kNever) {  // cannot be: too much is held for the ring; an endless wait is an endless time
      steps_done_ = std::numeric_limits<std::size_t>::max();
      now_ = kNever;
      return;
    }
    const double span = std::max(0.0, next - now_);
    if (!reads_.empty()) busy_.disk_seconds += span;
    if (!checks_.empty()) busy_.check_seconds += span;
    (computing_ ? busy_.compute_seconds : busy_.wait_seconds) += span;
    now_ = next;

    if (computing_) compute_left_ -= span * compute_speed;
    for (Check& check : checks_) check.left -= span * check_speed;
    bool moved = false;
    if (!reads_.empty() && reads_.front().arrival <= now_) {
      if (reads_.front().last) {
        arrived_.push_back(reads_.front().turn);
        moved = true;
      }
      reads_.pop_front();
      issue();
    }
    // What is left is compared with a thousandth of a nanosecond: sums of fractions do not come out at zero.
    for (std::size_t i = 0; i < checks_.size();) {
      if (checks_[i].left <= 1e-12) {
        region(checks_[i].turn).ready = true;
        checks_.erase(checks_.begin() + static_cast<std::ptrdiff_t>(i));
        moved = true;
      } else {
        i++;
      }
    }
    if (moved) {
      start_checks();
      start_compute();
    }
    if (computing_ && compute_left_ <= 1e-12) end_compute();
  }

  struct Held {
    std::size_t turn, until;
  };

  const std::span<const SimulatedChunk> step_;
  const SimulationRates rates_;
  std::vector<std::size_t> streamed_;  // visits
  ByteRing ring_;
  std::deque<Region> regions_;  // of turns first_ ..
  std::deque<Read> reads_;
  std::deque<std::size_t> arrived_;
  std::vector<Check> checks_;
  std::deque<Held> held_;
  std::size_t first_ = 0, issued_ = 0, acquired_ = 0;  // turns
  std::uint64_t to_ask_ = 0;                           // bytes of the youngest region that no read was begun for
  std::size_t visit_ = 0, visits_done_ = 0, steps_done_ = 0;
  bool computing_ = false;
  double compute_left_ = 0, now_ = 0, last_arrival_ = 0;
  StepSimulation busy_;
};

}  // namespace

StepSimulation simulate_steps(std::span<const SimulatedChunk> step, std::uint64_t ring_bytes, const SimulationRates& rates,
                              std::size_t warm, std::size_t counted) {
  if (step.empty()) return {};
  Simulation simulation(step, ring_bytes, rates);
  if (warm > 0) simulation.run_to(warm);
  const double begin = simulation.now();
  const StepSimulation before = simulation.busy();
  simulation.run_to(warm + counted);
  const StepSimulation after = simulation.busy();
  const double steps = static_cast<double>(counted);
  return {(simulation.now() - begin) / steps, (after.disk_seconds - before.disk_seconds) / steps,
          (after.check_seconds - before.check_seconds) / steps, (after.compute_seconds - before.compute_seconds) / steps,
          (after.wait_seconds - before.wait_seconds) / steps};
}

}  // namespace leafcutter::offload
