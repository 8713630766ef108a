#include "offload/read_ahead.h"

#include <algorithm>
#include <utility>

#include "base/checked.h"

namespace leafcutter::offload {
namespace {

constexpr std::size_t kTurnsAhead = 256;  // beside what is held

ReadShape usable(const ReadShape& reads) {
  return {std::max(kLeastRead, reads.bytes / kLeastRead * kLeastRead), std::max<std::size_t>(1, reads.in_flight)};
}

}  // namespace

ReadAhead::ReadAhead(std::vector<Chunk> order, std::size_t ring_bytes, std::size_t staging_slots, std::size_t most_held,
                     const ReadShape& reads)
    : order_(std::move(order)),
      ring_bytes_(ring_bytes),
      reads_(usable(reads)),
      ring_(ring_bytes),
      regions_(order_.empty() ? 0 : kTurnsAhead + most_held) {
  // All that will ever be needed: nothing is allocated while chunks go by.
  to_check_.reserve(regions_.size());
  for (std::size_t slot = 0; slot < staging_slots; slot++) free_staging_.push_back(slot);
}

// A chunk is read in pieces, in order: disks share their rate out among the reads that are in flight, so that large reads begun together also end together, and late; small ones deliver chunk after
// chunk with as many bytes in flight as the disk wants and no more.
std::optional<ReadAhead::Piece> ReadAhead::begin_read() {
  if (in_flight_ >= reads_.in_flight || (!asking_ && !begin_turn())) return std::nullopt;
  const std::uint64_t turn = begun_ - 1;
  Region& r = region(turn);
  const std::size_t stored = order_[position(turn)].stored_bytes, bytes = std::min(reads_.bytes, stored - r.asked);
  const Piece piece{turn, r.asked, bytes};
  r.asked += bytes;
  r.in_flight++;
  in_flight_++;
  asking_ = r.asked < stored;
  return piece;
}

// Room for the next turn; false when there is none now.
bool ReadAhead::begin_turn() {
  if (paused_ || begun_ - first_ >= regions_.size()) return false;
  const Chunk& chunk = order_[position(begun_)];
  if (chunk.staged && free_staging_.empty()) return false;
  const auto at = ring_.take(chunk.slot_bytes);
  if (!at) return false;
  Region& r = region(begun_);
  r = Region{};
  r.offset = *at;
  if (chunk.staged) {
    r.staging = free_staging_.back();
    free_staging_.pop_back();
  }
  begun_++;
  unsettled_++;
  asking_ = true;
  return true;
}

bool ReadAhead::end_read(std::uint64_t turn, std::exception_ptr failure) {
  Region& r = region(turn);
  in_flight_--;
  r.in_flight--;
  if (failure && !r.failure) r.failure = std::move(failure);
  if (r.failure && half_asked(turn)) asking_ = false;  // the rest of it is of no use
  if (r.in_flight > 0 || half_asked(turn)) return false;
  if (r.failure) {
    settle(r, Stage::failed);
  } else {
    r.stage = Stage::arrived;
    to_check_.push_back(turn);
  }
  return true;
}

std::optional<std::uint64_t> ReadAhead::begin_check() {
  if (to_check_.empty()) return std::nullopt;
  const auto oldest = std::min_element(to_check_.begin(), to_check_.end());
  const std::uint64_t turn = *oldest;
  to_check_.erase(oldest);
  region(turn).stage = Stage::checking;
  return turn;
}

void ReadAhead::end_check(std::uint64_t turn, std::exception_ptr failure) {
  Region& r = region(turn);
  const bool failed = failure != nullptr;
  r.failure = std::move(failure);
  settle(r, failed ? Stage::failed : Stage::ready);
}

void ReadAhead::settle(Region& r, Stage stage) {
  r.stage = stage;
  unsettled_--;
  if (r.staging == kNoSlot) return;
  free_staging_.push_back(r.staging);
  r.staging = kNoSlot;
}

void ReadAhead::release(std::size_t place) {
  for (std::uint64_t turn = first_; turn < next_; turn++) {
    Region& r = region(turn);
    if (position(turn) != place || r.stage != Stage::ready) continue;
    r.stage = Stage::released;
    return free_released();
  }
}

void ReadAhead::free_released() {
  while (first_ < next_ && region(first_).stage == Stage::released) {
    first_++;
    ring_.give_back_oldest(first_ < begun_ ? region(first_).offset : 0);
  }
}

void ReadAhead::start_over() {
  const std::uint64_t step = round_up(next_, order_.size());
  bool keep = step < begun_;
  for (std::uint64_t turn = step; turn < begun_; turn++) keep = keep && region(turn).stage != Stage::failed;
  if (keep) {
    for (std::uint64_t turn = first_; turn < step; turn++) region(turn).stage = Stage::released;
    next_ = step;
    free_released();
  } else {
    first_ = next_ = begun_ = 0;
    ring_ = ByteRing(ring_bytes_);
  }
}

}  // namespace leafcutter::offload
