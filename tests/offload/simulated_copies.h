// Drives a CopyAhead through one order of events after another, drawn from a seed: a host that enqueues copies and uses, notices late what is complete and gives up in mid-step, sources that arrive when they
// like, and two streams that run what is enqueued at any pace, each in its own order and behind the events that it was told to wait for. Every page of the ring has an owner, so that a use before the copy,
// a copy over what is in use, a source given back too early, or a deadlock is found the moment it happens.
#pragma once

#include <cstdint>
#include <deque>
#include <exception>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "offload/copy_ahead.h"

namespace leafcutter::offload::test {

struct SimulatedCopyRun {
  std::vector<CopyAhead::Chunk> order;
  std::size_t ring_bytes = 0;
  std::size_t most_held = 1;
  std::size_t most_uses = 2;  // of a chunk while it is held
  double failing = 0;         // share of copies that fail
  double giving_up = 0;       // chance before each event
  std::size_t steps = 4;      // to be enqueued whole
  std::uint64_t seed = 1;
};

class SimulatedCopies {
 public:
  explicit SimulatedCopies(const SimulatedCopyRun& run)
      : run_(run),
        random_(run.seed),
        ahead_(run.order, run.ring_bytes, run.most_held),
        pages_(run.ring_bytes / kPage),
        copied_(ahead_.most_turns(), kNobody),
        used_(ahead_.most_turns(), kNobody) {}

  // What went wrong first; empty when nothing did.
  std::string walk() {
    try {
      ahead_.resume();
      enqueue_copies();
      while (steps_ < run_.steps) event();
      return {};
    } catch (const std::logic_error& e) { return e.what(); }
  }

  std::uint64_t resets() const { return resets_; }
  std::uint64_t kept() const { return kept_; }
  std::uint64_t failures() const { return failures_; }
  std::size_t most_enqueued() const { return most_enqueued_; }  // uses that the host was ahead of the device

 private:
  static constexpr std::size_t kPage = 4096;
  static constexpr std::uint64_t kNobody = ~std::uint64_t{0};

  struct Page {
    std::uint64_t turn = kNobody;  // whose bytes are here or are being copied here
    bool whole = false;
  };
  // A piece of work on a stream. `after` is done when that many pieces of the other stream are.
  struct Work {
    std::uint64_t turn = 0;
    std::uint64_t after = 0;
    bool running = false;
  };
  struct Stream {
    std::deque<Work> work;
    std::uint64_t enqueued = 0, done = 0;
  };
  struct Held {
    std::uint64_t turn = 0;
    std::size_t uses = 0;
  };

  [[noreturn]] static void wrong(const std::string& what, std::uint64_t turn) {
    throw std::logic_error(what + ", turn " + std::to_string(turn));
  }
  bool chance(double share) { return std::bernoulli_distribution(share)(random_); }
  std::size_t below(std::size_t n) { return static_cast<std::size_t>(random_() % n); }
  const CopyAhead::Chunk& chunk(std::uint64_t turn) const { return run_.order[turn % run_.order.size()]; }
  std::size_t first_page(std::uint64_t turn) const { return at_.at(turn) / kPage; }
  std::size_t end_page(std::uint64_t turn) const { return (at_.at(turn) + chunk(turn).slot_bytes) / kPage; }

  // ---- the host enqueues

  void enqueue_copies() {
    while (const auto copy = ahead_.begin_copy()) {
      const std::uint64_t turn = copy->turn;
      if (turn != expected_copy_) wrong("not the next to be copied", turn);
      expected_copy_++;
      if (chunk(turn).from_disk && !sources_.contains(turn)) wrong("copied from where nothing is", turn);
      if (copy->offset % kPage != 0 || copy->offset + chunk(turn).slot_bytes > run_.ring_bytes) wrong("a region outside of the ring", turn);
      at_[turn] = copy->offset;
      Work work{turn, 0, false};
      if (copy->after_use_of) {
        // The event as it was recorded last: whose use it stands behind is what the schedule has to know.
        const std::size_t slot = ahead_.slot(*copy->after_use_of);
        if (used_[slot] == kNobody) wrong("waits for an event that was never recorded", turn);
        work.after = used_[slot];
      }
      copies_.work.push_back(work);
      copies_.enqueued++;
      copied_[ahead_.slot(turn)] = copies_.enqueued;
    }
  }

  void source_arrives() {
    const std::uint64_t turn = ahead_.wanted_source().value();
    if (!chunk(turn).from_disk) wrong("wants a source that is there", turn);
    if (!sources_.insert(turn).second) wrong("wants a source twice", turn);
    ahead_.source_arrived();
    enqueue_copies();
  }

  void notice_a_copy() {
    const std::uint64_t turn = complete_.front();
    complete_.pop_front();
    const bool fails = failed_.contains(turn);
    const bool gives_back = ahead_.end_copy(turn, fails ? failure() : nullptr);
    if (gives_back != chunk(turn).from_disk) wrong("a source that is not given back, or that is not given", turn);
    if (gives_back) sources_.erase(turn);
    if (fails) giving_up_ = true;
    enqueue_copies();
  }

  void acquire() {
    const std::uint64_t turn = ahead_.next();
    if (turn % run_.order.size() != position_) wrong("not the next of the order", turn);
    if (!at_.contains(turn)) wrong("acquired before its copy was enqueued", turn);
    if (ahead_.ring_offset(turn) != at_[turn]) wrong("it lies elsewhere", turn);
    ahead_.acquire();
    held_.push_back({turn, 0});
    enqueue_use(held_.back());
    if (++position_ == run_.order.size()) {
      position_ = 0;
      steps_++;
    }
  }

  void enqueue_use(Held& held) {
    held.uses++;
    uses_.work.push_back({held.turn, copied_[ahead_.slot(held.turn)], false});
    uses_.enqueued++;
    pending_uses_[held.turn]++;
    most_enqueued_ = std::max(most_enqueued_, uses_.work.size());
  }

  void release() {
    const std::size_t i = below(held_.size());
    const std::uint64_t turn = held_[i].turn;
    // Of two turns of one place the older is given back first.
    for (const Held& other : held_)
      if (other.turn < turn && other.turn % run_.order.size() == turn % run_.order.size()) return;
    held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(i));
    used_[ahead_.slot(turn)] = uses_.enqueued;
    ahead_.release(static_cast<std::size_t>(turn % run_.order.size()));
    enqueue_copies();
  }

  void start_over() {
    if (ahead_.copies_in_flight() != 0) wrong("a copy counts as under way", ahead_.next());
    const std::uint64_t before = ahead_.next();
    ahead_.start_over();
    resets_++;
    giving_up_ = false;
    held_.clear();
    sources_.clear();
    position_ = 0;
    if (ahead_.next() % run_.order.size() != 0) wrong("does not begin with the first chunk", ahead_.next());
    const bool kept = ahead_.next() >= before && ahead_.begun(ahead_.next());
    kept_ += kept;
    if (kept) {
      for (std::uint64_t turn = ahead_.next(); ahead_.begun(turn); turn++)
        if (chunk(turn).from_disk) wrong("what came from disk is kept", turn);
    } else {
      failed_.clear();
      at_.clear();
      expected_copy_ = ahead_.next();
      for (Page& page : pages_) page = {};
    }
    ahead_.resume();
    enqueue_copies();
  }

  // ---- the streams run

  bool can_run(const Stream& stream, const Stream& other) const {
    return !stream.work.empty() && (stream.work.front().running || other.done >= stream.work.front().after);
  }

  // A copy has a beginning and an end, between which anything may happen.
  void run_a_copy() {
    Work& copy = copies_.work.front();
    const std::uint64_t turn = copy.turn;
    if (chunk(turn).from_disk && !sources_.contains(turn)) wrong("its source was given back", turn);
    if (!copy.running) {
      for (std::size_t page = first_page(turn); page < end_page(turn); page++) {
        const std::uint64_t owner = pages_[page].turn;
        if (owner != kNobody && (pending_uses_[owner] > 0 || is_held(owner) || owner >= ahead_.next()))
          wrong("copied over what is in use", turn);
        pages_[page] = {turn, false};
      }
      copy.running = true;
      return;
    }
    for (std::size_t page = first_page(turn); page < end_page(turn); page++) {
      if (pages_[page].turn != turn) wrong("two copies into one place", turn);
      pages_[page].whole = true;
    }
    if (chance(run_.failing)) {
      failed_.insert(turn);
      failures_++;
    }
    copies_.work.pop_front();
    copies_.done++;
    complete_.push_back(turn);
  }

  void run_a_use() {
    Work& use = uses_.work.front();
    const std::uint64_t turn = use.turn;
    for (std::size_t page = first_page(turn); page < end_page(turn); page++)
      if (pages_[page].turn != turn || !pages_[page].whole)
        wrong(use.running ? "overwritten while in use" : "used before it was copied", turn);
    if (!use.running) {
      use.running = true;
      return;
    }
    uses_.work.pop_front();
    uses_.done++;
    pending_uses_[turn]--;
  }

  bool is_held(std::uint64_t turn) const {
    for (const Held& held : held_)
      if (held.turn == turn) return true;
    return false;
  }

  // ---- one thing after another

  void event() {
    if (!giving_up_ && chance(run_.giving_up)) giving_up_ = true;
    if (giving_up_) ahead_.pause();
    enum class What { source, notice, acquire, use, release, copy, compute, start_over };
    std::vector<What> can;
    if (can_run(copies_, uses_)) can.push_back(What::copy);
    if (can_run(uses_, copies_)) can.push_back(What::compute);
    if (!complete_.empty()) can.push_back(What::notice);
    if (giving_up_) {
      if (copies_.work.empty() && uses_.work.empty() && complete_.empty()) can.push_back(What::start_over);
    } else {
      if (ahead_.wanted_source()) can.push_back(What::source);
      if (held_.size() < run_.most_held && ahead_.can_acquire()) can.push_back(What::acquire);
      if (!held_.empty() && held_.back().uses < run_.most_uses) can.push_back(What::use);
      if (!held_.empty()) can.push_back(What::release);
      if (held_.empty() && ahead_.stuck()) wrong("stuck though nothing is held", ahead_.next());
    }
    if (can.empty()) wrong("deadlock", ahead_.next());
    switch (can[below(can.size())]) {
      case What::source:
        return source_arrives();
      case What::notice:
        return notice_a_copy();
      case What::acquire:
        return acquire();
      case What::use:
        return enqueue_use(held_.back());
      case What::release:
        return release();
      case What::copy:
        return run_a_copy();
      case What::compute:
        return run_a_use();
      case What::start_over:
        return start_over();
    }
  }

  static std::exception_ptr failure() {
    static const std::exception_ptr made = std::make_exception_ptr(std::runtime_error("simulated"));
    return made;
  }

  const SimulatedCopyRun run_;
  std::mt19937_64 random_;
  CopyAhead ahead_;
  std::vector<Page> pages_;
  std::vector<std::uint64_t> copied_,
      used_;  // events by slot: how many pieces of work of their stream were enqueued when they were recorded
  Stream copies_, uses_;
  std::deque<std::uint64_t> complete_;  // copies that the host has not noticed
  std::vector<Held> held_;
  std::map<std::uint64_t, std::size_t> at_;            // of each turn: where its region is
  std::map<std::uint64_t, std::size_t> pending_uses_;  // of each turn: enqueued and not done
  std::set<std::uint64_t> sources_, failed_;
  std::uint64_t expected_copy_ = 0;
  std::size_t position_ = 0, steps_ = 0, most_enqueued_ = 0;
  bool giving_up_ = false;
  std::uint64_t resets_ = 0, kept_ = 0, failures_ = 0;
};

}  // namespace leafcutter::offload::test
