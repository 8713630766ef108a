// Drives a ReadAhead through one order of events after another, drawn from a seed: reads that end in any order or fail, checks that end in any order, a user who holds and gives back, and who gives up in
// mid-step. Every page of the ring and of the staging slots has an owner and a state, so that any use before arrival, overwriting before release, or deadlock is found the moment it happens.
#pragma once

#include <cstdint>
#include <exception>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "offload/read_ahead.h"

namespace leafcutter::offload::test {

struct SimulatedRun {
  std::vector<ReadAhead::Chunk> order;
  std::size_t ring_bytes = 0;
  std::size_t staging_slots = 0;
  std::size_t most_held = 1;
  ReadShape reads;
  std::size_t checkers = 1;
  double failing = 0;     // share of reads and checks that fail
  double giving_up = 0;   // chance of a reset before each use
  std::size_t steps = 4;  // to be walked through whole
  std::uint64_t seed = 1;
};

class SimulatedDisk {
 public:
  explicit SimulatedDisk(const SimulatedRun& run)
      : run_(run),
        random_(run.seed),
        ahead_(run.order, run.ring_bytes, run.staging_slots, run.most_held, run.reads),
        ring_(run.ring_bytes / kPage),
        staging_(run.staging_slots) {}

  // What went wrong first; empty when nothing did.
  std::string walk() {
    try {
      ahead_.resume();
      issue();
      while (steps_ < run_.steps) event();
      return {};
    } catch (const std::logic_error& e) { return e.what(); }
  }

  std::uint64_t resets() const { return resets_; }
  std::uint64_t failures() const { return failures_; }

 private:
  static constexpr std::size_t kPage = 4096;
  static constexpr std::uint64_t kNobody = ~std::uint64_t{0};
  struct Page {
    std::uint64_t turn = kNobody;  // whose bytes are written here or are here
    bool busy = false;             // being written, or of a turn that is not given back
  };

  [[noreturn]] static void wrong(const std::string& what, std::uint64_t turn) {
    throw std::logic_error(what + ", turn " + std::to_string(turn));
  }
  bool chance(double share) { return std::bernoulli_distribution(share)(random_); }
  std::size_t below(std::size_t n) { return static_cast<std::size_t>(random_() % n); }
  const ReadAhead::Chunk& chunk(std::uint64_t turn) const { return run_.order[turn % run_.order.size()]; }

  // ---- the disk

  void issue() {
    while (const auto piece = ahead_.begin_read()) {
      if (in_flight_.size() >= run_.reads.in_flight) wrong("more reads in flight than allowed", piece->turn);
      if (piece->bytes == 0 || piece->bytes > run_.reads.bytes || piece->begin + piece->bytes > chunk(piece->turn).stored_bytes)
        wrong("a read outside of its chunk", piece->turn);
      if (piece->begin == 0) claim(piece->turn);
      if (piece->begin != asked_[piece->turn]) wrong("pieces out of order", piece->turn);
      asked_[piece->turn] += piece->bytes;
      in_flight_.push_back(*piece);
    }
  }

  // The whole slot becomes this turn's; nobody may have anything there.
  void claim(std::uint64_t turn) {
    const ReadAhead::Chunk& c = chunk(turn);
    const std::size_t at = ahead_.ring_offset(turn);
    if (at % kPage != 0 || at + c.slot_bytes > run_.ring_bytes) wrong("a region outside of the ring", turn);
    for (std::size_t page = at / kPage; page < (at + c.slot_bytes) / kPage; page++) {
      if (ring_[page].busy) wrong("overwritten before release", turn);
      ring_[page] = {turn, true};
    }
    const std::size_t slot = ahead_.staging_slot(turn);
    if (c.staged != (slot != ReadAhead::kNoSlot)) wrong("staged or not", turn);
    if (c.staged) {
      if (slot >= staging_.size()) wrong("a staging slot that is none", turn);
      if (staging_[slot].busy) wrong("a staging slot taken twice", turn);
      staging_[slot] = {turn, true};
      slot_of_[turn] = slot;
    }
    asked_[turn] = arrived_[turn] = 0;
    if (!live_.insert(turn).second) wrong("a turn begun twice", turn);
  }

  void give_back_pages(std::uint64_t turn) {
    for (Page& page : ring_)
      if (page.turn == turn) page.busy = false;
    live_.erase(turn);
    ready_.erase(turn);
  }

  void free_staging(std::uint64_t turn) {
    if (const auto slot = slot_of_.find(turn); slot != slot_of_.end()) {
      staging_[slot->second].busy = false;
      slot_of_.erase(slot);
    }
  }

  void end_a_read() {
    const std::size_t i = below(in_flight_.size());
    const ReadAhead::Piece piece = in_flight_[i];
    in_flight_.erase(in_flight_.begin() + static_cast<std::ptrdiff_t>(i));
    const bool fails = chance(run_.failing);
    failures_ += fails;
    if (fails) failed_.insert(piece.turn);
    if (!fails) arrived_[piece.turn] += piece.bytes;
    if (ahead_.end_read(piece.turn, fails ? failure() : nullptr)) {
      for (const ReadAhead::Piece& other : in_flight_)
        if (other.turn == piece.turn) wrong("settled while a read of it is in flight", piece.turn);
      if (failed_.contains(piece.turn)) free_staging(piece.turn);
      if ((ahead_.stage(piece.turn) == ReadAhead::Stage::failed) != failed_.contains(piece.turn))
        wrong("a failure lost or made up", piece.turn);
    }
    issue();
  }

  // ---- the checkers

  void begin_a_check() {
    const std::uint64_t turn = ahead_.begin_check().value();
    if (arrived_[turn] != chunk(turn).stored_bytes) wrong("checked before it arrived", turn);
    owned(turn);
    checking_.push_back(turn);
  }

  void end_a_check() {
    const std::size_t i = below(checking_.size());
    const std::uint64_t turn = checking_[i];
    checking_.erase(checking_.begin() + static_cast<std::ptrdiff_t>(i));
    owned(turn);
    const bool fails = chance(run_.failing);
    failures_ += fails;
    if (fails) failed_.insert(turn);
    if (!fails) ready_.insert(turn);
    free_staging(turn);
    ahead_.end_check(turn, fails ? failure() : nullptr);
    issue();
  }

  // All of a turn's slot is still its own.
  void owned(std::uint64_t turn) {
    const std::size_t at = ahead_.ring_offset(turn);
    for (std::size_t page = at / kPage; page < (at + chunk(turn).slot_bytes) / kPage; page++)
      if (ring_[page].turn != turn || !ring_[page].busy) wrong("its bytes are somebody else's", turn);
  }

  // ---- the user

  bool can_use() const {
    const std::uint64_t turn = ahead_.next();
    return held_.size() < run_.most_held && ahead_.begun(turn) &&
           (ahead_.stage(turn) == ReadAhead::Stage::ready || ahead_.stage(turn) == ReadAhead::Stage::failed);
  }

  void use() {
    const std::uint64_t turn = ahead_.next();
    if (turn % run_.order.size() != used_) wrong("not the next of the order", turn);
    if (ahead_.stage(turn) == ReadAhead::Stage::failed) {
      if (!failed_.contains(turn) || !ahead_.failure(turn)) wrong("a failure that was none", turn);
      giving_up_ = true;  // what a user does with an error
      return;
    }
    if (!ready_.contains(turn)) wrong("used before it was checked", turn);
    owned(turn);
    ahead_.acquire();
    held_.push_back(turn);
    if (++used_ == run_.order.size()) {
      used_ = 0;
      steps_++;
    }
  }

  void give_back() {
    const std::size_t i = below(held_.size());
    const std::uint64_t turn = held_[i];
    // Of two turns of one place the older is given back first.
    for (const std::uint64_t other : held_)
      if (other < turn && other % run_.order.size() == turn % run_.order.size()) return;
    owned(turn);
    held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(i));
    give_back_pages(turn);
    ahead_.release(static_cast<std::size_t>(turn % run_.order.size()));
    issue();
  }

  void start_over() {
    if (!in_flight_.empty() || !checking_.empty()) wrong("settled while something is under way", ahead_.next());
    const std::uint64_t before = ahead_.next();
    ahead_.start_over();
    giving_up_ = false;
    resets_++;
    held_.clear();
    used_ = 0;
    if (ahead_.next() % run_.order.size() != 0) wrong("does not begin with the first chunk", ahead_.next());
    const bool kept = ahead_.next() >= before && ahead_.begun(ahead_.next());
    const std::set<std::uint64_t> live = live_;
    for (const std::uint64_t turn : live)
      if (!kept || turn < ahead_.next()) {
        free_staging(turn);
        give_back_pages(turn);
      }
    if (!kept) {
      failed_.clear();
      for (Page& page : ring_) page.busy = false;
    }
    ahead_.resume();
    issue();
  }

  // ---- one thing after another

  void event() {
    if (!giving_up_ && chance(run_.giving_up)) giving_up_ = true;
    if (giving_up_) ahead_.pause();
    enum class What { read, begin_check, end_check, use, give_back, start_over };
    std::vector<What> can;
    if (!in_flight_.empty()) can.push_back(What::read);
    if (ahead_.can_check() && checking_.size() < run_.checkers) can.push_back(What::begin_check);
    if (!checking_.empty()) can.push_back(What::end_check);
    if (giving_up_) {
      if (ahead_.settled()) can.push_back(What::start_over);
    } else {
      if (can_use()) can.push_back(What::use);
      if (!held_.empty()) can.push_back(What::give_back);
      if (can.empty() && ahead_.stuck()) wrong("stuck though nothing is held", ahead_.next());
    }
    if (can.empty()) wrong("deadlock", ahead_.next());
    switch (can[below(can.size())]) {
      case What::read:
        return end_a_read();
      case What::begin_check:
        return begin_a_check();
      case What::end_check:
        return end_a_check();
      case What::use:
        return use();
      case What::give_back:
        return give_back();
      case What::start_over:
        return start_over();
    }
  }

  static std::exception_ptr failure() {
    static const std::exception_ptr made = std::make_exception_ptr(std::runtime_error("simulated"));
    return made;
  }

  const SimulatedRun run_;
  std::mt19937_64 random_;
  ReadAhead ahead_;
  std::vector<Page> ring_, staging_;
  std::vector<ReadAhead::Piece> in_flight_;
  std::vector<std::uint64_t> checking_, held_;
  std::map<std::uint64_t, std::size_t> asked_, arrived_, slot_of_;
  std::set<std::uint64_t> live_, ready_, failed_;
  std::size_t used_ = 0, steps_ = 0;
  bool giving_up_ = false;
  std::uint64_t resets_ = 0, failures_ = 0;
};

}  // namespace leafcutter::offload::test
