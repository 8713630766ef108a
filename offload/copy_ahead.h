// The schedule of the second hop, host memory -> device: which chunk is copied next and to where, which uses the copy stream has to wait for, when a source in host memory may be given back, and how to
// begin anew. Bookkeeping only: no threads, clocks, memory or device, so that tests can drive it through any order of events; whoever has a device does what it says.
//
// Copied chunks are numbered on and on: turn n is chunk n % size of the order, so that a step's last chunks are followed by the first of the next step. A turn is given room in a ring of device memory, waits
// for its source if that comes from disk, is copied, used and released:
//
//   waiting -> copying -> there, or failed
//
// All of it is about work that is *enqueued*. Copies run one after another on one stream, uses on another one. A turn may be acquired as soon as its copy is enqueued (the compute stream waits for the copy), and
// is released as soon as its last use is enqueued; the copy that takes its place may be enqueued at once, behind that use (Copy::after_use_of). So the host runs ahead of the device, and neither stream waits for it.
//
// Every turn has a place among most_turns() pairs of events (slot()): one recorded behind its copy, one behind its last use. A place is taken again only when nobody has to wait for its events any more.
//
// Not thread-safe; each call that can let a copy begin says so, and the caller then asks for copies until there are none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <vector>

#include "offload/byte_ring.h"

namespace leafcutter::offload {

class CopyAhead {
 public:
  struct Chunk {
    std::size_t slot_bytes = 0;  // in the ring, a multiple of what the device wants copies and kernels to begin at
    std::size_t copy_bytes = 0;  // <= slot_bytes
    bool from_disk = false;      // its source is in host memory only for a while: from source_arrived() to end_copy()
  };
  struct Copy {
    std::uint64_t turn = 0;
    std::size_t offset = 0;  // in the ring
    std::optional<std::uint64_t>
        after_use_of;  // the copy stream waits for the event behind this turn's last use first; none: nothing to wait for that it has not waited for
  };
  enum class Stage { waiting, copying, there, failed };

  // most_held: chunks that a user may have acquired and not released at once. Begins paused. An empty order is never asked for anything.
  CopyAhead(std::vector<Chunk> order, std::size_t ring_bytes, std::size_t most_held);

  // ---- copying

  // A copy that is to be enqueued now; none: not before its source arrives or something is released.
  std::optional<Copy> begin_copy();
  // The turn that has room and waits for its source, which may be taken from where it arrives now.
  std::optional<std::uint64_t> wanted_source() const;
  // The source of wanted_source() is in host memory and stays until end_copy(). A copy may begin.
  void source_arrived();
  // A copy that was begun is complete, or failed. True: its source may be given back. A copy may begin.
  bool end_copy(std::uint64_t turn, std::exception_ptr failure);

  // ---- using

  std::uint64_t next() const { return next_; }
  bool begun(std::uint64_t turn) const { return turn < begun_; }
  Stage stage(std::uint64_t turn) const { return region(turn).stage; }  // of a turn that has begun
  const std::exception_ptr& failure(std::uint64_t turn) const { return region(turn).failure; }
  // The copy of the next turn is enqueued: a use of it may be, behind the event of that copy.
  bool can_acquire() const { return begun(next_) && (stage(next_) == Stage::copying || stage(next_) == Stage::there); }
  // Nothing that is under way will let the next turn begin: what is held leaves no room, and only its holder can change that.
  bool stuck() const { return !begun(next_) && in_flight_ == 0; }
  void acquire() { next_++; }  // the next turn, for which can_acquire() is true
  // The last use of the oldest turn of this place in the order that is held has been enqueued; the event behind it is recorded. Nothing when none is held. Copies may begin.
  void release(std::size_t position);

  // ---- beginning anew

  void pause() { paused_ = true; }  // no further copy is begun
  void resume() { paused_ = false; }
  bool paused() const { return paused_; }
  std::size_t copies_in_flight() const { return in_flight_; }
  // When no copy is in flight and the compute stream has run empty: the next turn is the first of the order, everything held is given back, and sources that were wanted or had arrived are no longer. What is
  // there of the next step stays if none of it came from disk: whoever reads from disk begins anew, too.
  void start_over();
  // The same, and nothing that is there stays: somebody else will write to the ring. Paused, it can be left alone until its turn comes again.
  void forget();

  // ---- places

  std::size_t position(std::uint64_t turn) const { return static_cast<std::size_t>(turn % order_.size()); }
  const Chunk& chunk(std::uint64_t turn) const { return order_[position(turn)]; }
  std::size_t ring_offset(std::uint64_t turn) const { return region(turn).offset; }
  std::size_t slot(std::uint64_t turn) const { return static_cast<std::size_t>(turn % regions_.size()); }
  std::size_t most_turns() const { return regions_.size(); }

 private:
  struct Region {
    std::size_t offset = 0;
    Stage stage = Stage::waiting;
    bool source = false;    // there
    bool released = false;  //
    std::uint64_t use = 0;  // of a released turn: how many releases there were with this one. Uses run in the order of their releases
    std::optional<std::uint64_t> after_use_of;  // what its copy has to wait for
    std::exception_ptr failure;
  };

  Region& region(std::uint64_t turn) { return regions_[turn % regions_.size()]; }
  const Region& region(std::uint64_t turn) const { return regions_[turn % regions_.size()]; }
  bool begin_turn();
  std::optional<std::uint64_t> uses_in(std::size_t begin, std::size_t end);
  void free_released();

  const std::vector<Chunk> order_;
  const std::size_t ring_bytes_;
  ByteRing ring_;
  std::vector<Region> regions_;
  // Turns: past_..first_ are given back, but the copy stream has not waited for their uses; first_..next_ are held or released; next_..begun_ are to be used.
  std::uint64_t past_ = 0, first_ = 0, next_ = 0, begun_ = 0;
  std::uint64_t releases_ = 0, waited_ = 0;  // the copy stream is behind the first waited_ of all releases
  std::size_t in_flight_ = 0;                // copies
  bool paused_ = true;
};

}  // namespace leafcutter::offload
