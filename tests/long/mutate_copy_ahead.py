#!/usr/bin/env python3
"""Plants one mistake after another into the schedule of copies to a device and sees that its tests find each. Standard library only.

usage: mutate_copy_ahead.py SOURCE_FOLDER [COMPILER]
"""
from mutations import run

SCHEDULE, RING = "offload/copy_ahead.cpp", "offload/byte_ring.h"
MUTATIONS = [
    ("a chunk begun while paused", SCHEDULE, "if (paused_ || (!waiting", "if (false || (!waiting"),
    ("a copy begun before its source is there", SCHEDULE, "  if (!r.source) return std::nullopt;\n", ""),
    ("a place taken whose copy nobody has seen complete", SCHEDULE, "  if (region(begun_).stage == Stage::copying) return false;", "  if (false) return false;"),
    ("a turn more than there are places", SCHEDULE, "begun_ - first_ >= regions_.size()", "begun_ - first_ > regions_.size() + 4096"),
    ("room for what is copied instead of what is held", SCHEDULE, "ring_.take(next.slot_bytes)", "ring_.take(next.copy_bytes / 4096 * 4096)"),
    ("only those who used the first byte are waited for", SCHEDULE, "uses_in(*at, *at + next.slot_bytes)", "uses_in(*at, *at + 1)"),
    ("no copy waits for any use", SCHEDULE, "  r.after_use_of = after_use_of;\n", ""),
    ("events recorded anew while they are needed", SCHEDULE, "begun_ - past_ >= regions_.size() ? past_ + 1 : past_", "past_"),
    ("the last of those in the way is not waited for", SCHEDULE, "behind = turn + 1;", "behind = turn;"),
    ("a use that was waited for is waited for again", SCHEDULE, "    if (region(past_).use > waited_) {", "    if (region(past_).use > 0) {"),
    ("the copy stream counts as behind uses that it has not waited for", SCHEDULE, "      waited_ = region(past_).use;", "      waited_ = releases_;"),
    ("the first of those in the way is waited for instead of the last", SCHEDULE, "      last = past_;", "      if (!last) last = past_;"),
    ("uses are not counted", SCHEDULE, "    r.use = ++releases_;", "    r.use = releases_;"),
    ("the youngest of a place is given back", SCHEDULE, "for (std::uint64_t turn = first_; turn < next_; turn++) {\n    Region& r = region(turn);\n    if (position", "for (std::uint64_t turn = next_; turn-- > first_;) {\n    Region& r = region(turn);\n    if (position"),
    ("the ring gives back what is still held", SCHEDULE, "while (first_ < next_ && region(first_).released)", "while (first_ < next_)"),
    ("the ring gives nothing back", SCHEDULE, "    ring_.give_back_oldest(", "    if (false) ring_.give_back_oldest("),
    ("the wrong beginning is given back", SCHEDULE, "first_ < begun_ ? region(first_).offset : 0", "0"),
    ("a copy that failed is kept", SCHEDULE, "region(turn).stage == Stage::there && ", "region(turn).stage != Stage::waiting && "),
    ("what came from disk is kept", SCHEDULE, " && !chunk(turn).from_disk;", ";"),
    ("what was held is kept", SCHEDULE, "for (std::uint64_t turn = first_; turn < step; turn++) region(turn).released = true;", ""),
    ("the ring is not emptied", SCHEDULE, "  ring_ = ByteRing(ring_bytes_);\n", ""),
    ("the step before is begun again", SCHEDULE, "round_up(next_, order_.size())", "(next_ / order_.size() * order_.size())"),
    ("uses of the step before are waited for", SCHEDULE, "  past_ = first_;\n", ""),
    ("a copy that ended counts as under way", SCHEDULE, "  in_flight_--;\n", ""),
    ("a source is given back that stays", SCHEDULE, "return chunk(turn).from_disk;", "return true;"),
    ("what comes from disk counts as there", SCHEDULE, "r.source = !next.from_disk;", "r.source = true;"),
    ("the ring's end is overrun", RING, "if (end_ + bytes <= size_)", "if (end_ + bytes <= size_ + 4096)"),
    ("the ring overtakes itself", RING, "if (end_ + bytes > begin_) return", "if (end_ + bytes > begin_ + 4096) return"),
]

run(SCHEDULE, "tests/offload/copy_ahead_test.cpp", MUTATIONS)
