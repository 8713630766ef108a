#include "offload/card_simulator.h"

#include <algorithm>
#include <deque>
#include <limits>

namespace leafcutter::offload {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();
constexpr double kNothing = 1e-12;  // seconds: sums of fractions do not come out at zero
// Products of the host keep at least this share of its memory, whatever is copied; so do copies, whatever arrives.
constexpr double kLeastShare = 0.05;
constexpr std::size_t kMostHeld = 4096;

std::vector<ReadAhead::Chunk> disk_order(const CardStep& step) {
  std::vector<ReadAhead::Chunk> order;
  for (const CardStep::DiskChunk& chunk : step.disk) order.push_back(chunk.chunk);
  return order;
}

class Simulation {
 public:
  Simulation(const CardStep& step, const Card& card, const CardHost& host)
      : step_(step),
        card_(card),
        host_(host),
        reads_(disk_order(step), static_cast<std::size_t>(step.host_ring_bytes), step.staging_slots, kMostHeld, ReadShape{}),
        copies_(step.copies, static_cast<std::size_t>(step.card_ring_bytes), kMostHeld),
        last_use_(step.copies.size(), kNone) {
    for (std::size_t s = 0; s < step.stages.size(); s++)
      for (const CardStage::CardWork& work : step.stages[s].card)
        if (work.copy != kNone) last_use_[work.copy] = s;
    if (!step.disk.empty()) reads_.resume();
    if (!step.copies.empty()) copies_.resume();
  }

  void run_to(std::size_t steps) {
    settle();
    while (steps_done_ < steps) {
      if (!advance()) {
        now_ = kNever;
        return;
      }
      settle();
    }
  }

  double now() const { return now_; }
  const CardStepTime& busy() const { return busy_; }

 private:
  enum class Side { card, host };
  struct Kernel {
    double seconds = 0;
    std::uint64_t copy_turn = kNoTurn;  // must be there
    std::uint64_t result = 0;           // the host's share of so many stages must be up
    bool sends_input = false;           // activations go down when it is reached
    std::uint64_t uses_done = 0;        // turns before this one are used for the last time
  };
  static constexpr std::uint64_t kNoTurn = ~std::uint64_t{0};

  // Everything that can begin now, begins.
  void settle() {
    for (bool moved = true; moved;) {
      moved = false;
      moved |= begin_reads();
      moved |= begin_checks();
      moved |= begin_copies();
      moved |= drive();
      moved |= begin_host();
      moved |= begin_kernel();
    }
  }

  // ---- disk

  bool begin_reads() {
    bool moved = false;
    while (!step_.disk.empty()) {
      const auto piece = reads_.begin_read();
      if (!piece) break;
      last_arrival_ = std::max(last_arrival_, now_ + host_.disk_latency_s) + static_cast<double>(piece->bytes) / host_.disk_bytes_per_s;
      in_flight_.push_back({piece->turn, last_arrival_});
      moved = true;
    }
    return moved;
  }

  bool begin_checks() {
    bool moved = false;
    if (!checking_ && !step_.disk.empty())
      if (const auto turn = reads_.begin_check()) {
        checking_ = true;
        check_turn_ = *turn;
        check_left_ = step_.disk[reads_.position(*turn)].check_seconds;
        moved = true;
      }
    // Everything that is ready is held until all its uses are over.
    while (!step_.disk.empty() && reads_.begun(reads_.next()) && reads_.stage(reads_.next()) == ReadAhead::Stage::ready) {
      uses_left_.push_back(step_.disk[reads_.position(reads_.next())].uses);
      reads_.acquire();
      moved = true;
    }
    return moved;
  }

  bool in_memory(std::uint64_t disk_turn) const { return disk_turn < reads_.next(); }

  // Turns are released in order: a later one that is done waits for those before it, as its room in the ring would.
  void used(std::uint64_t disk_turn) {
    uses_left_[disk_turn - first_held_]--;
    while (!uses_left_.empty() && uses_left_.front() == 0) {
      uses_left_.pop_front();
      reads_.release(reads_.position(first_held_++));
    }
  }

  // ---- link

  std::uint64_t source_of(std::uint64_t copy_turn) const {
    const std::size_t source = step_.copy_source[copies_.position(copy_turn)];
    return source == kNone ? kNoTurn : copy_turn / step_.copies.size() * step_.disk.size() + source;
  }

  bool begin_copies() {
    if (step_.copies.empty()) return false;
    bool moved = false;
    for (;;) {
      if (const auto turn = copies_.wanted_source(); turn && in_memory(source_of(*turn))) {
        copies_.source_arrived();
        moved = true;
      }
      if (!step_.look_ahead_over_steps && copies_begun_ >= (steps_done_ + 1) * step_.copies.size()) break;
      const auto copy = copies_.begin_copy();
      if (!copy) {
        if (const auto turn = copies_.wanted_source(); turn && in_memory(source_of(*turn))) continue;
        break;
      }
      link_queue_.push_back(*copy);
      copies_begun_++;
      moved = true;
    }
    if (!copying_ && !link_queue_.empty() && !(card_.copy_engines == 1 && going_down_)) {
      const CopyAhead::Copy& next = link_queue_.front();
      if (!next.after_use_of || *next.after_use_of < uses_done_) {
        copying_ = true;
        // One that was enqueued while another ran follows it at once.
        copy_latency_ = link_free_since_ < now_ ? card_.link_latency_s : 0;
        copy_left_ = static_cast<double>(copies_.chunk(next.turn).copy_bytes);
        moved = true;
      }
    }
    return moved;
  }

  void end_copy() {
    const std::uint64_t turn = link_queue_.front().turn;
    link_queue_.pop_front();
    copying_ = false;
    link_free_since_ = now_;
    copies_there_ = turn + 1;
    copies_.end_copy(turn, nullptr);
    if (const std::uint64_t source = source_of(turn); source != kNoTurn) used(source);
    if (down_waits_) {
      down_waits_ = false;
      begin_down();
    }
  }

  // ---- the program

  const CardStage& stage() const { return step_.stages[stage_]; }

  // What the program can enqueue now. It runs ahead of the card until it needs something from it: activations for the host's share.
  bool drive() {
    bool moved = false;
    for (;;) {
      if (!begun_) {
        begun_ = true;
        next_card_ = next_host_ = 0;
        const bool on_card = !stage().card.empty(), on_host = !stage().host.empty();
        if (on_card && where_ == Side::host) result_up();
        if (stage().card_before > 0) {
          Kernel before;
          before.seconds = stage().card_before;
          before.result = results_;
          kernels_.push_back(before);
        }
        input_here_ = !on_host || where_ == Side::host;
        if (on_host && where_ == Side::card) {
          Kernel mark;
          mark.sends_input = true;
          mark.result = results_;
          kernels_.push_back(mark);
        }
        moved = true;
      }
      while (next_card_ < stage().card.size() && enqueue(stage().card[next_card_])) {
        next_card_++;
        moved = true;
      }
      if (next_card_ < stage().card.size() || next_host_ < stage().host.size() || host_busy_) return moved;
      end_stage();
      moved = true;
    }
  }

  bool enqueue(const CardStage::CardWork& work) {
    Kernel kernel;
    kernel.seconds = work.seconds;
    kernel.result = results_;
    if (work.copy != kNone) {
      const std::uint64_t turn = steps_done_ * step_.copies.size() + work.copy;
      if (turn >= copies_.next()) {
        if (!copies_.can_acquire()) return false;
        copies_.acquire();
      }
      kernel.copy_turn = turn;
      if (last_use_[work.copy] == stage_) {
        kernel.uses_done = turn + 1;
        copies_.release(work.copy);
      }
    }
    kernels_.push_back(kernel);
    return true;
  }

  void end_stage() {
    if (!stage().host.empty()) {
      output_bytes_ = stage().output_bytes;
      if (!stage().card.empty())
        result_up();
      else
        where_ = Side::host;
    }
    begun_ = false;
    if (++stage_ == step_.stages.size()) {
      stage_ = 0;
      steps_done_++;
    }
  }

  // What the host has computed comes up; kernels that are enqueued from now on wait for it.
  void result_up() {
    results_++;
    ups_.push_back(now_ + card_.link_latency_s + static_cast<double>(output_bytes_) / card_.link_bytes_per_s);
    where_ = Side::card;
  }

  // ---- the card

  bool begin_kernel() {
    if (computing_ || kernels_.empty()) return false;
    const Kernel& kernel = kernels_.front();
    if (kernel.result > results_there_) return false;
    if (kernel.copy_turn != kNoTurn && kernel.copy_turn >= copies_there_) return false;
    computing_ = true;
    kernel_left_ = kernel.seconds;
    if (kernel.sends_input) {
      if (card_.copy_engines == 1 && copying_)
        down_waits_ = true;
      else
        begin_down();
    }
    return true;
  }

  void begin_down() {
    going_down_ = true;
    down_arrival_ = now_ + card_.link_latency_s + static_cast<double>(stage().input_bytes) / card_.link_bytes_per_s;
  }

  void end_kernel() {
    uses_done_ = std::max(uses_done_, kernels_.front().uses_done);
    kernels_.pop_front();
    computing_ = false;
  }

  // ---- the host

  bool begin_host() {
    if (host_busy_ || !begun_ || !input_here_ || next_host_ >= stage().host.size()) return false;
    const CardStage::HostWork& work = stage().host[next_host_];
    if (work.disk_turn != kNone && !in_memory(steps_done_ * step_.disk.size() + work.disk_turn)) return false;
    host_busy_ = true;
    host_left_ = work.seconds;
    host_demand_ = work.seconds > 0 ? work.bytes / work.seconds : 0;
    return true;
  }

  void end_host() {
    const CardStage::HostWork& work = stage().host[next_host_++];
    host_busy_ = false;
    if (work.disk_turn != kNone) used(steps_done_ * step_.disk.size() + work.disk_turn);
  }

  // ---- time

  double arriving() const { return in_flight_.empty() ? 0 : host_.disk_bytes_per_s; }

  double copy_rate() const {
    if (!copying_ || copy_latency_ > kNothing) return 0;
    const double memory = host_.dram_bytes_per_s;
    return std::min(card_.link_bytes_per_s, std::max((1 - kLeastShare) * memory - arriving(), kLeastShare * memory));
  }

  // Of its own speed.
  double host_speed() const {
    if (host_demand_ <= 0) return 1;
    const double left = std::max(host_.dram_bytes_per_s - copy_rate() - arriving(), kLeastShare * host_.dram_bytes_per_s);
    return std::min(1.0, left / host_demand_);
  }

  bool advance() {
    const double rate = copy_rate(), speed = host_speed();
    double next = in_flight_.empty() ? kNever : in_flight_.front().arrival;
    if (checking_) next = std::min(next, now_ + check_left_);
    if (copying_) next = std::min(next, now_ + (copy_latency_ > kNothing ? copy_latency_ : copy_left_ / rate));
    if (computing_) next = std::min(next, now_ + kernel_left_);
    if (host_busy_) next = std::min(next, now_ + host_left_ / speed);
    if (going_down_) next = std::min(next, down_arrival_);
    if (!ups_.empty()) next = std::min(next, ups_.front());
    if (next == kNever) return false;
    const double span = std::max(0.0, next - now_);
    count(span);
    now_ = next;

    if (checking_ && (check_left_ -= span) <= kNothing) {
      checking_ = false;
      reads_.end_check(check_turn_, nullptr);
    }
    while (!in_flight_.empty() && in_flight_.front().arrival <= now_) {
      const std::uint64_t turn = in_flight_.front().turn;
      in_flight_.pop_front();
      reads_.end_read(turn, nullptr);
    }
    if (going_down_ && down_arrival_ <= now_) {
      going_down_ = false;
      input_here_ = true;
    }
    while (!ups_.empty() && ups_.front() <= now_) {
      ups_.pop_front();
      results_there_++;
    }
    if (computing_ && (kernel_left_ -= span) <= kNothing) end_kernel();
    if (host_busy_ && (host_left_ -= span * speed) <= kNothing) end_host();
    if (copying_) {
      if (copy_latency_ > kNothing)
        copy_latency_ -= span;
      else if ((copy_left_ -= span * rate) <= rate * kNothing)
        end_copy();
    }
    return true;
  }

  void count(double span) {
    if (!in_flight_.empty()) busy_.disk += span;
    if (checking_) busy_.check += span;
    if (copying_) busy_.link += span;
    if (host_busy_) busy_.host += span;
    if (computing_) {
      busy_.card += span;
      return;
    }
    const std::uint64_t turn = waited_copy();
    if (turn == kNoTurn)
      busy_.wait_host += span;
    else if (const std::uint64_t source = source_of(turn); source != kNoTurn && !in_memory(source))
      busy_.wait_disk += span;
    else
      busy_.wait_link += span;
  }

  // The copy that the card would go on with.
  std::uint64_t waited_copy() const {
    if (!kernels_.empty()) return kernels_.front().result <= results_there_ ? kernels_.front().copy_turn : kNoTurn;
    if (!begun_ || next_card_ >= stage().card.size() || stage().card[next_card_].copy == kNone) return kNoTurn;
    return steps_done_ * step_.copies.size() + stage().card[next_card_].copy;
  }

  struct Read {
    std::uint64_t turn;
    double arrival;
  };

  const CardStep& step_;
  const Card& card_;
  const CardHost& host_;
  ReadAhead reads_;
  CopyAhead copies_;
  std::vector<std::size_t> last_use_;  // stage of each copy's last use
  double now_ = 0;
  CardStepTime busy_;

  std::deque<Read> in_flight_;
  double last_arrival_ = 0;
  bool checking_ = false;
  std::uint64_t check_turn_ = 0;
  double check_left_ = 0;
  std::deque<int> uses_left_;  // of disk turns first_held_ ..
  std::uint64_t first_held_ = 0;

  std::deque<CopyAhead::Copy> link_queue_;
  bool copying_ = false;
  double copy_latency_ = 0, copy_left_ = 0, link_free_since_ = -1;
  std::uint64_t copies_begun_ = 0, copies_there_ = 0;  // turns

  std::size_t stage_ = 0, next_card_ = 0, next_host_ = 0;
  std::size_t steps_done_ = 0;
  bool begun_ = false;
  Side where_ = Side::host;  // where the input of the stage is: a step begins with a row of the embedding
  std::uint64_t output_bytes_ = 0;

  std::deque<Kernel> kernels_;
  bool computing_ = false;
  double kernel_left_ = 0;
  std::uint64_t uses_done_ = 0;  // turns

  bool host_busy_ = false, input_here_ = false;
  double host_left_ = 0, host_demand_ = 0;

  bool going_down_ = false, down_waits_ = false;
  double down_arrival_ = 0;
  std::deque<double> ups_;
  std::uint64_t results_ = 0, results_there_ = 0;
};

}  // namespace

CardStepTime card_bounds(const CardStep& step, const Card& card, const CardHost& host) {
  CardStepTime time;
  for (const CopyAhead::Chunk& copy : step.copies) {
    time.bound_link += static_cast<double>(copy.copy_bytes) / card.link_bytes_per_s;
    time.host_memory_bytes += static_cast<double>(copy.copy_bytes);
  }
  for (const CardStep::DiskChunk& chunk : step.disk) {
    time.bound_disk += static_cast<double>(chunk.chunk.stored_bytes) / host.disk_bytes_per_s;
    time.bound_check += chunk.check_seconds;
    time.host_memory_bytes += static_cast<double>(chunk.chunk.stored_bytes);
  }
  double alone = 0;
  for (const CardStage& stage : step.stages) {
    time.bound_card += stage.card_before;
    for (const CardStage::CardWork& work : stage.card) time.bound_card += work.seconds;
    for (const CardStage::HostWork& work : stage.host) {
      alone += work.seconds;
      time.host_memory_bytes += work.bytes;
    }
  }
  time.bound_host = std::max(alone, time.host_memory_bytes / host.dram_bytes_per_s);
  return time;
}

double CardStepTime::bound() const { return std::max({bound_disk, bound_check, bound_link, bound_card, bound_host}); }

const char* CardStepTime::limit() const {
  const double most = bound();
  if (most == bound_link) return "link";
  if (most == bound_card) return "device";
  if (most == bound_host) return "host";
  return most == bound_disk ? "disk" : "check";
}

CardStepTime simulate_card(const CardStep& step, const Card& card, const CardHost& host, std::size_t warm, std::size_t counted) {
  CardStepTime time = card_bounds(step, card, host);
  if (step.stages.empty()) return time;
  Simulation simulation(step, card, host);
  if (warm > 0) simulation.run_to(warm);
  const double begin = simulation.now();
  const CardStepTime before = simulation.busy();
  simulation.run_to(warm + counted);
  const CardStepTime after = simulation.busy();
  const double steps = static_cast<double>(counted);
  time.seconds = begin == kNever ? kNever : (simulation.now() - begin) / steps;
  for (double CardStepTime::*lane : {&CardStepTime::disk, &CardStepTime::check, &CardStepTime::link, &CardStepTime::card,
                                     &CardStepTime::host, &CardStepTime::wait_link, &CardStepTime::wait_disk, &CardStepTime::wait_host})
    time.*lane = (after.*lane - before.*lane) / steps;
  return time;
}

}  // namespace leafcutter::offload
