#!/usr/bin/env python3
"""Plants one mistake after another into the schedule of streaming and sees that its tests find each. Standard library only.

usage: mutate_read_ahead.py SOURCE_FOLDER [COMPILER]
"""
from mutations import run

SCHEDULE, RING = "offload/read_ahead.cpp", "offload/byte_ring.h"
MUTATIONS = [
    ("a read beyond the depth", SCHEDULE, "in_flight_ >= reads_.in_flight ||", "in_flight_ > reads_.in_flight ||"),
    ("a chunk begun while paused", SCHEDULE, "if (paused_ || ", "if ("),
    ("a turn more than there are regions", SCHEDULE, "begun_ - first_ >= regions_.size()", "begun_ - first_ > regions_.size() + 4096"),
    ("a staging slot that is not free", SCHEDULE, "  if (chunk.staged && free_staging_.empty()) return false;\n", "  if (chunk.staged && free_staging_.empty()) free_staging_.push_back(0);\n"),
    ("room for what is read instead of what is held", SCHEDULE, "ring_.take(chunk.slot_bytes)", "ring_.take(chunk.stored_bytes)"),
    ("the piece before once more", SCHEDULE, "  r.asked += bytes;\n", "  r.asked += r.asked == 0 && asking_ && bytes < stored ? 0 : bytes;\n"),
    ("the last piece is left out", SCHEDULE, "asking_ = r.asked < stored;", "asking_ = r.asked + kPage < stored;"),
    ("a chunk arrives with its first piece", SCHEDULE, "if (r.in_flight > 0 || half_asked(turn)) return false;", "if (half_asked(turn)) return false;"),
    ("a chunk arrives before all of it is asked for", SCHEDULE, "if (r.in_flight > 0 || half_asked(turn)) return false;", "if (r.in_flight > 0) return false;"),
    ("a failed read passes", SCHEDULE, "  if (failure && !r.failure) r.failure = std::move(failure);\n", ""),
    ("a failed chunk goes on being asked for", SCHEDULE, "  if (r.failure && half_asked(turn)) asking_ = false;", "  if (r.failure && half_asked(turn)) asking_ = true;"),
    ("a failed chunk is checked", SCHEDULE, "    settle(r, Stage::failed);\n  } else {", "    to_check_.push_back(turn);\n  } else {"),
    ("a failed check passes", SCHEDULE, "settle(r, failed ? Stage::failed : Stage::ready);", "settle(r, Stage::ready);"),
    ("a staging slot is lost", SCHEDULE, "  free_staging_.push_back(r.staging);\n  r.staging = kNoSlot;", "  r.staging = kNoSlot;"),
    ("a staging slot is given back while it is checked", SCHEDULE, "  region(turn).stage = Stage::checking;\n", "  region(turn).stage = Stage::checking;\n  if (region(turn).staging != kNoSlot) free_staging_.push_back(region(turn).staging);\n"),
    ("the ring gives back what is still held", SCHEDULE, "while (first_ < next_ && region(first_).stage == Stage::released) {", "while (first_ < next_) {"),
    ("the ring gives nothing back", SCHEDULE, "    ring_.give_back_oldest(", "    if (false) ring_.give_back_oldest("),
    ("the wrong beginning is given back", SCHEDULE, "first_ < begun_ ? region(first_).offset : 0", "0"),
    ("the youngest of a place is given back", SCHEDULE, "for (std::uint64_t turn = first_; turn < next_; turn++) {\n    Region& r", "for (std::uint64_t turn = next_; turn-- > first_;) {\n    Region& r"),
    ("a step that failed is kept", SCHEDULE, "keep = keep && region(turn).stage != Stage::failed;", "keep = keep && true;"),
    ("what was held is kept", SCHEDULE, "for (std::uint64_t turn = first_; turn < step; turn++) region(turn).stage = Stage::released;", ""),
    ("the ring is not emptied", SCHEDULE, "    ring_ = ByteRing(ring_bytes_);\n", ""),
    ("turns are not begun anew", SCHEDULE, "first_ = next_ = begun_ = 0;", "next_ = 0;"),
    ("the step before is begun again", SCHEDULE, "round_up(next_, order_.size())", "(next_ / order_.size() * order_.size())"),
    ("a settled chunk counts as under way", SCHEDULE, "  unsettled_--;\n", ""),
    ("the ring's end is overrun", RING, "if (end_ + bytes <= size_)", "if (end_ + bytes <= size_ + 4096)"),
    ("the ring overtakes itself", RING, "if (end_ + bytes > begin_) return", "if (end_ + bytes > begin_ + 4096) return"),
    ("a full ring looks empty", RING, "    regions_++;\n", ""),
]

run(SCHEDULE, "tests/offload/read_ahead_test.cpp", MUTATIONS)
