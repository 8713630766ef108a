// The disk of a host of the card table on a clock that somebody else moves: ReadAhead decides what is read when, reads arrive in order at the disk's rate, and chunks are checked one after another. The same as the first
// hop of card_simulator.h, for steps that are carried out.
#pragma once

#include <cstdint>
#include <deque>

#include "offload/card_table.h"
#include "offload/read_clock.h"

namespace leafcutter::offload {

// Moments are seconds on that clock, and no call goes back.
class VirtualDisk {
 public:
  VirtualDisk(HostReads reads, const CardHost& host);

  void settle(double now);     // everything begins that can
  double next_moment() const;  // at which something ends; infinite when nothing is under way
  void advance(double now);    // what has ended by then, has
  double arriving_bytes_per_s() const { return in_flight_.empty() ? 0 : host_.disk_bytes_per_s; }

  bool is_ready() const;
  void acquire() { ahead_.acquire(); }
  void release(std::size_t position) { ahead_.release(position); }
  void pause() { ahead_.pause(); }
  bool settled() const { return ahead_.settled(); }
  void start_over();

 private:
  struct Read {
    std::uint64_t turn;
    double arrival;
  };

  const HostReads reads_;
  const CardHost host_;
  ReadAhead ahead_;
  std::deque<Read> in_flight_;
  double last_arrival_ = 0;
  bool checking_ = false;
  std::uint64_t check_turn_ = 0;
  double checked_at_ = 0;
};

}  // namespace leafcutter::offload
