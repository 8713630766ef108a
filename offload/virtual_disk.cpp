#include "offload/virtual_disk.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace leafcutter::offload {
namespace {

constexpr double kNothing = 1e-12;  // seconds: sums of fractions do not come out at zero
constexpr std::size_t kMostHeld = 4096;

}  // namespace

VirtualDisk::VirtualDisk(HostReads reads, const CardHost& host)
    : reads_(std::move(reads)), host_(host), ahead_(reads_.order, reads_.ring_bytes, reads_.staging_slots, kMostHeld, ReadShape{}) {
  ahead_.resume();
}

void VirtualDisk::settle(double now) {
  while (const auto piece = ahead_.begin_read()) {
    last_arrival_ = std::max(last_arrival_, now + host_.disk_latency_s) + static_cast<double>(piece->bytes) / host_.disk_bytes_per_s;
    in_flight_.push_back({piece->turn, last_arrival_});
  }
  if (checking_) return;
  if (const auto turn = ahead_.begin_check()) {
    checking_ = true;
    check_turn_ = *turn;
    checked_at_ = now + reads_.check_bytes[ahead_.position(*turn)] / host_.check_bytes_per_s;
  }
}

double VirtualDisk::next_moment() const {
  double next = std::numeric_limits<double>::infinity();
  if (!in_flight_.empty()) next = in_flight_.front().arrival;
  return checking_ ? std::min(next, checked_at_) : next;
}

void VirtualDisk::advance(double now) {
  while (!in_flight_.empty() && in_flight_.front().arrival <= now + kNothing) {
    ahead_.end_read(in_flight_.front().turn, nullptr);
    in_flight_.pop_front();
  }
  if (checking_ && checked_at_ <= now + kNothing) {
    checking_ = false;
    ahead_.end_check(check_turn_, nullptr);
  }
}

bool VirtualDisk::is_ready() const { return ahead_.begun(ahead_.next()) && ahead_.stage(ahead_.next()) == ReadAhead::Stage::ready; }

void VirtualDisk::start_over() {
  ahead_.start_over();
  ahead_.resume();
}

}  // namespace leafcutter::offload
