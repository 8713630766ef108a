#include "offload/copy_ahead.h"

#include <algorithm>
#include <utility>

#include "base/checked.h"

namespace leafcutter::offload {
namespace {

constexpr std::size_t kTurnsAhead = 256;  // beside what is held

}  // namespace

CopyAhead::CopyAhead(std::vector<Chunk> order, std::size_t ring_bytes, std::size_t most_held)
    : order_(std::move(order)), ring_bytes_(ring_bytes), ring_(ring_bytes), regions_(order_.empty() ? 0 : kTurnsAhead + most_held) {}

std::optional<CopyAhead::Copy> CopyAhead::begin_copy() {
  const bool waiting = begun_ > next_ && region(begun_ - 1).stage == Stage::waiting;
  if (paused_ || (!waiting && !begin_turn())) return std::nullopt;
  const std::uint64_t turn = begun_ - 1;
  Region& r = region(turn);
  if (!r.source) return std::nullopt;
  r.stage = Stage::copying;
  in_flight_++;
  return Copy{turn, r.offset, r.after_use_of};
}

std::optional<std::uint64_t> CopyAhead::wanted_source() const {
  if (paused_ || begun_ == next_) return std::nullopt;
  const Region& r = region(begun_ - 1);
  return r.stage == Stage::waiting && !r.source ? std::optional(begun_ - 1) : std::nullopt;
}

void CopyAhead::source_arrived() { region(begun_ - 1).source = true; }

bool CopyAhead::end_copy(std::uint64_t turn, std::exception_ptr failure) {
  Region& r = region(turn);
  in_flight_--;
  r.stage = failure ? Stage::failed : Stage::there;
  r.failure = std::move(failure);
  return chunk(turn).from_disk;
}

// Room for the next turn; false when there is none now.
bool CopyAhead::begin_turn() {
  if (begun_ - first_ >= regions_.size()) return false;
  if (region(begun_).stage == Stage::copying) return false;  // of the turn that had this place: nobody has said that its copy is complete
  const Chunk& next = order_[position(begun_)];
  const auto at = ring_.take(next.slot_bytes);
  if (!at) return false;
  const auto after_use_of = uses_in(*at, *at + next.slot_bytes);
  Region& r = region(begun_);
  r = Region{};
  r.offset = *at;
  r.source = !next.from_disk;
  r.after_use_of = after_use_of;
  begun_++;
  return true;
}

// The turn whose use is the last of those that may still touch these bytes, none when the copy stream is behind all of them. The ring is filled in the order in which it was given back, so that the turns in
// question are the oldest; those before them that lie elsewhere (at the end of the ring, where the new turn had no room) were used no later. A turn whose place among the events is needed counts as well.
std::optional<std::uint64_t> CopyAhead::uses_in(std::size_t begin, std::size_t end) {
  std::uint64_t behind = begun_ - past_ >= regions_.size() ? past_ + 1 : past_;
  for (std::uint64_t turn = past_; turn < first_; turn++) {
    const std::size_t offset = region(turn).offset;
    if (offset < end && begin < offset + chunk(turn).slot_bytes) behind = turn + 1;
  }
  std::optional<std::uint64_t> last;
  for (; past_ < behind; past_++)
    if (region(past_).use > waited_) {
      waited_ = region(past_).use;
      last = past_;
    }
  return last;
}

void CopyAhead::release(std::size_t place) {
  for (std::uint64_t turn = first_; turn < next_; turn++) {
    Region& r = region(turn);
    if (position(turn) != place || r.released) continue;
    r.released = true;
    r.use = ++releases_;
    return free_released();
  }
}

void CopyAhead::free_released() {
  while (first_ < next_ && region(first_).released) {
    first_++;
    ring_.give_back_oldest(first_ < begun_ ? region(first_).offset : 0);
  }
}

void CopyAhead::start_over() {
  const std::uint64_t step = round_up(next_, order_.size());
  bool keep = step < begun_;
  for (std::uint64_t turn = step; turn < begun_; turn++) keep = keep && region(turn).stage == Stage::there && !chunk(turn).from_disk;
  if (keep) {
    for (std::uint64_t turn = first_; turn < step; turn++) region(turn).released = true;
    next_ = step;
    free_released();
    // Nothing runs any more, so that nobody has to wait for any use.
    past_ = first_;
    waited_ = releases_;
  } else {
    forget();
  }
}

void CopyAhead::forget() {
  past_ = first_ = next_ = begun_ = 0;
  waited_ = releases_;
  ring_ = ByteRing(ring_bytes_);
}

}  // namespace leafcutter::offload
