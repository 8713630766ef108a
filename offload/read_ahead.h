// The schedule of streaming: which piece of which chunk is read next and to where, what may be checked, used and overwritten, and how to begin anew. Bookkeeping only: no threads, files, clocks or
// memory, so that tests can drive it through any order of events; the pager does what it says.
//
// Streamed chunks are numbered on and on: turn n is chunk n % size of the order. Turns first..begun-1 have a region of the ring each; `next` is the one to be used next.
// Each turn goes reading -> arrived -> checking -> ready -> released, or to failed from reading or checking.
//
// Not thread-safe; each call that can let a read begin says so, and the caller then asks for reads until there are none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <vector>

#include "offload/byte_ring.h"
#include "offload/read_shape.h"

namespace leafcutter::offload {

class ReadAhead {
 public:
  struct Chunk {
    std::size_t slot_bytes = 0;    // in the ring
    std::size_t stored_bytes = 0;  // read from disk, whole pages
    bool staged = false;           // read into a staging slot and decoded from there to the ring
  };
  struct Piece {
    std::uint64_t turn = 0;
    std::size_t begin = 0, bytes = 0;  // of what is stored
  };
  enum class Stage { reading, arrived, checking, ready, failed, released };
  static constexpr std::size_t kNoSlot = ~std::size_t{0};

  // most_held: chunks that a user may hold at once. Begins paused. An empty order is never asked for anything.
  ReadAhead(std::vector<Chunk> order, std::size_t ring_bytes, std::size_t staging_slots, std::size_t most_held, const ReadShape& reads);

  // ---- reading and checking

  // A read that is to begin now; none: not before something ends.
  std::optional<Piece> begin_read();
  // A read of this turn ended. True: the chunk is settled, it failed or can be checked. More reads may begin.
  bool end_read(std::uint64_t turn, std::exception_ptr failure);
  // The oldest chunk that has arrived whole; it is being checked now.
  std::optional<std::uint64_t> begin_check();
  bool can_check() const { return !to_check_.empty(); }
  // More reads may begin.
  void end_check(std::uint64_t turn, std::exception_ptr failure);

  // ---- using

  std::uint64_t next() const { return next_; }
  bool begun(std::uint64_t turn) const { return turn < begun_; }
  Stage stage(std::uint64_t turn) const { return region(turn).stage; }  // of a turn that has begun
  const std::exception_ptr& failure(std::uint64_t turn) const { return region(turn).failure; }
  // Nothing under way and the next turn not begun: what is held leaves no room, and only its holder can change that.
  bool stuck() const { return !begun(next_) && unsettled_ == 0; }
  void acquire() { next_++; }  // the next turn, which is ready
  // Gives the oldest turn of this place in the order back that is held; nothing when none is. More reads may begin.
  void release(std::size_t position);

  // ---- beginning anew

  // No further chunk is begun; the one that is half asked for is asked for to its end.
  void pause() { paused_ = true; }
  void resume() { paused_ = false; }
  bool paused() const { return paused_; }
  // No read and no check is under way: nothing will write into the ring, and no failure can come up later.
  bool settled() const { return unsettled_ == 0; }
  // When settled: the next turn is the first of the order, everything that was held is given back. Chunks of the next step that are there already stay.
  void start_over();

  // ---- places

  std::size_t position(std::uint64_t turn) const { return static_cast<std::size_t>(turn % order_.size()); }
  std::size_t ring_offset(std::uint64_t turn) const { return region(turn).offset; }
  std::size_t staging_slot(std::uint64_t turn) const { return region(turn).staging; }  // kNoSlot: read straight to the ring
  std::size_t reads_in_flight() const { return in_flight_; }
  std::size_t most_turns() const { return regions_.size(); }  // that are begun and not given back at once

 private:
  struct Region {
    std::size_t offset = 0;
    std::size_t staging = kNoSlot;
    Stage stage = Stage::reading;
    std::size_t asked = 0;      // bytes that reads were begun for
    std::size_t in_flight = 0;  // reads
    std::exception_ptr failure;
  };

  Region& region(std::uint64_t turn) { return regions_[turn % regions_.size()]; }
  const Region& region(std::uint64_t turn) const { return regions_[turn % regions_.size()]; }
  bool begin_turn();
  bool half_asked(std::uint64_t turn) const { return asking_ && turn + 1 == begun_; }
  void settle(Region& region, Stage stage);
  void free_released();

  const std::vector<Chunk> order_;
  const std::size_t ring_bytes_;
  const ReadShape reads_;
  ByteRing ring_;
  std::vector<Region> regions_;
  std::vector<std::uint64_t> to_check_;
  std::vector<std::size_t> free_staging_;
  std::uint64_t first_ = 0, next_ = 0, begun_ = 0;  // turns
  std::size_t in_flight_ = 0;                       // reads
  std::size_t unsettled_ = 0;                       // turns that are neither ready nor failed nor released
  bool asking_ = false;                             // the youngest turn has pieces that no read was begun for
  bool paused_ = true;
};

}  // namespace leafcutter::offload
