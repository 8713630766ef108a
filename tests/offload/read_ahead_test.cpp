#include "offload/read_ahead.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "tests/offload/simulated_disk.h"

using namespace leafcutter::offload;
using leafcutter::offload::test::SimulatedDisk;
using leafcutter::offload::test::SimulatedRun;

namespace {

constexpr std::size_t kPage = 4096;

std::exception_ptr some_failure() { return std::make_exception_ptr(std::runtime_error("simulated")); }

std::vector<ReadAhead::Chunk> equal_chunks(std::size_t count, std::size_t pages) {
  return std::vector<ReadAhead::Chunk>(count, {pages * kPage, pages * kPage, false});
}

// Any order, ring, depth, piece, number of checkers and of chunks held; the ring has room for what may be held and one more, as a plan has it.
SimulatedRun random_run(std::uint64_t seed, bool failing) {
  std::mt19937_64 random(seed);
  SimulatedRun run;
  run.seed = seed;
  const double staged = random() % 3 == 0 ? 0.5 : 0;
  std::size_t largest = 0;
  for (std::size_t n = 1 + random() % 12; n > 0; n--) {
    ReadAhead::Chunk chunk;
    chunk.slot_bytes = (1 + random() % 6) * kPage;
    chunk.staged = std::bernoulli_distribution(staged)(random);
    chunk.stored_bytes = chunk.staged ? (1 + random() % (chunk.slot_bytes / kPage)) * kPage : chunk.slot_bytes;
    largest = std::max(largest, chunk.slot_bytes);
    run.order.push_back(chunk);
  }
  run.most_held = 1 + random() % 3;
  run.ring_bytes = (run.most_held + 2) * largest + random() % 12 * kPage;
  run.staging_slots = staged > 0 ? 1 + random() % 4 : 0;
  run.reads = {kPage * (1 + random() % 3), 1 + random() % 9};
  run.checkers = 1 + random() % 2;
  if (failing) run.failing = 0.02;
  if (random() % 2) run.giving_up = 0.02;
  return run;
}

}  // namespace

TEST_CASE("no order of events lets a chunk be used before it is there, overwritten before it is given back, or waited for in vain") {
  std::uint64_t resets = 0, failures = 0;
  for (std::uint64_t seed = 1; seed <= 4000; seed++) {
    CAPTURE(seed);
    SimulatedDisk disk(random_run(seed, seed % 2 == 0));
    REQUIRE(disk.walk() == "");
    resets += disk.resets();
    failures += disk.failures();
  }
  CHECK(resets > 1000);
  CHECK(failures > 1000);
}

TEST_CASE("reads are pieces in order, as many at once as are allowed") {
  ReadAhead ahead(equal_chunks(3, 5), 100 * kPage, 0, 1, {2 * kPage, 4});
  CHECK_FALSE(ahead.begin_read().has_value());  // paused at first
  ahead.resume();
  const std::vector<std::pair<std::uint64_t, std::size_t>> expected = {{0, 2}, {0, 2}, {0, 1}, {1, 2}};
  std::size_t begin = 0;
  for (const auto& [turn, pages] : expected) {
    const auto piece = ahead.begin_read();
    REQUIRE(piece.has_value());
    if (piece->turn == 1) begin = 0;
    CHECK(piece->turn == turn);
    CHECK(piece->begin == begin);
    CHECK(piece->bytes == pages * kPage);
    begin += piece->bytes;
  }
  CHECK_FALSE(ahead.begin_read().has_value());
  CHECK(ahead.reads_in_flight() == 4);
  CHECK_FALSE(ahead.end_read(0, nullptr));
  CHECK(ahead.begin_read().value().turn == 1);
}

TEST_CASE("a failure keeps its chunk, and those behind it go on") {
  ReadAhead ahead(equal_chunks(2, 3), 100 * kPage, 0, 1, {kPage, 2});
  ahead.resume();
  CHECK(ahead.begin_read().value().turn == 0);
  CHECK(ahead.begin_read().value().turn == 0);
  CHECK_FALSE(ahead.end_read(0, some_failure()));  // another piece of it is still under way
  CHECK(ahead.begin_read().value().turn == 1);     // its third piece is of no use
  CHECK(ahead.end_read(0, nullptr));
  CHECK(ahead.stage(0) == ReadAhead::Stage::failed);
  CHECK(ahead.failure(0) != nullptr);
  CHECK_FALSE(ahead.can_check());
}

TEST_CASE("beginning anew late in a step keeps what is there of the next one") {
  ReadAhead ahead(equal_chunks(2, 1), 100 * kPage, 0, 2, {kPage, 4});
  ahead.resume();
  const auto read_and_check = [&] {
    const auto piece = ahead.begin_read();
    REQUIRE(piece.has_value());
    ahead.end_read(piece->turn, nullptr);
    ahead.end_check(ahead.begin_check().value(), nullptr);
  };
  for (int i = 0; i < 3; i++) read_and_check();
  ahead.acquire();
  ahead.pause();
  REQUIRE(ahead.settled());
  ahead.start_over();
  CHECK(ahead.next() == 2);
  CHECK(ahead.begun(2));
  CHECK(ahead.stage(2) == ReadAhead::Stage::ready);
  ahead.resume();
  CHECK(ahead.begin_read().value().turn == 3);
}

TEST_CASE("room that is given back is used again while others are still held") {
  ReadAhead ahead(equal_chunks(1, 1), 3 * kPage, 0, 3, {kPage, 1});
  ahead.resume();
  for (std::uint64_t turn = 0; turn < 3; turn++) {
    REQUIRE(ahead.begin_read().value().turn == turn);
    CHECK(ahead.ring_offset(turn) == turn * kPage);
    ahead.end_read(turn, nullptr);
    ahead.end_check(ahead.begin_check().value(), nullptr);
    ahead.acquire();
  }
  CHECK_FALSE(ahead.begin_read().has_value());
  ahead.release(0);  // the oldest of the three that are held of this place
  CHECK(ahead.stage(1) == ReadAhead::Stage::ready);
  CHECK(ahead.stage(2) == ReadAhead::Stage::ready);
  CHECK(ahead.begin_read().value().turn == 3);
  CHECK(ahead.ring_offset(3) == 0);
  ahead.end_read(3, nullptr);
  ahead.release(0);
  CHECK(ahead.begin_read().value().turn == 4);
  CHECK(ahead.ring_offset(4) == kPage);
}

TEST_CASE("however much room there is, no more turns are begun than there are places for") {
  ReadAhead ahead(equal_chunks(1, 1), 5000 * kPage, 0, 1, {kPage, 1});
  ahead.resume();
  std::size_t begun = 0;
  while (const auto piece = ahead.begin_read()) {
    begun++;
    ahead.end_read(piece->turn, nullptr);
    ahead.end_check(ahead.begin_check().value(), nullptr);
  }
  CHECK(begun == ahead.most_turns());
}
