#include "offload/copy_ahead.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "tests/offload/simulated_copies.h"

using namespace leafcutter::offload;
using leafcutter::offload::test::SimulatedCopies;
using leafcutter::offload::test::SimulatedCopyRun;

namespace {

constexpr std::size_t kPage = 4096;

std::vector<CopyAhead::Chunk> equal_chunks(std::size_t count, std::size_t pages, bool from_disk = false) {
  return std::vector<CopyAhead::Chunk>(count, {pages * kPage, pages * kPage, from_disk});
}

// Any order, ring and number of chunks held; the ring has room for what may be held and one more, as a plan has it.
SimulatedCopyRun random_run(std::uint64_t seed, bool failing) {
  std::mt19937_64 random(seed);
  SimulatedCopyRun run;
  run.seed = seed;
  const double from_disk = random() % 3 == 0 ? 0 : std::uniform_real_distribution<>(0, 1)(random);
  std::size_t largest = 0;
  for (std::size_t n = 1 + random() % 12; n > 0; n--) {
    CopyAhead::Chunk chunk;
    chunk.slot_bytes = (1 + random() % 6) * kPage;
    chunk.copy_bytes = chunk.slot_bytes - random() % kPage;
    chunk.from_disk = std::bernoulli_distribution(from_disk)(random);
    largest = std::max(largest, chunk.slot_bytes);
    run.order.push_back(chunk);
  }
  run.most_held = 1 + random() % 3;
  run.most_uses = 1 + random() % 3;
  run.ring_bytes = (run.most_held + 2) * largest + random() % 12 * kPage;
  run.steps = 2 + random() % 6;
  if (seed % 97 == 0) {  // so much room that places among the events run out before it does
    run.ring_bytes = 300 * largest;
    run.steps = 3000 / run.order.size() + 1;
  }
  if (failing) run.failing = 0.02;
  if (random() % 2) run.giving_up = 0.005;
  return run;
}

// Enqueues a use of the next turn, which is its last.
void use(CopyAhead& ahead) {
  REQUIRE(ahead.can_acquire());
  const std::size_t position = ahead.position(ahead.next());
  ahead.acquire();
  ahead.release(position);
}

}  // namespace

TEST_CASE("no order of events lets a copy overwrite what is in use, a use see what is not there, or a source go before it was copied") {
  std::uint64_t resets = 0, kept = 0, failures = 0;
  std::size_t most_enqueued = 0;
  for (std::uint64_t seed = 1; seed <= 3000; seed++) {
    CAPTURE(seed);
    SimulatedCopies copies(random_run(seed, seed % 2 == 0));
    REQUIRE(copies.walk() == "");
    resets += copies.resets();
    kept += copies.kept();
    failures += copies.failures();
    most_enqueued = std::max(most_enqueued, copies.most_enqueued());
  }
  CHECK(resets > 1000);
  CHECK(kept > 50);
  CHECK(failures > 500);
  CHECK(most_enqueued > 10);  // the host runs ahead of the device
}

TEST_CASE("nothing is copied while paused, and then as far ahead as there is room, over the end of the step") {
  CopyAhead ahead(equal_chunks(2, 2), 7 * kPage, 1);
  CHECK_FALSE(ahead.begin_copy().has_value());
  ahead.resume();
  for (std::uint64_t turn = 0; turn < 3; turn++) {
    const auto copy = ahead.begin_copy();
    REQUIRE(copy.has_value());
    CHECK(copy->turn == turn);
    CHECK(copy->offset == turn * 2 * kPage);
    CHECK_FALSE(copy->after_use_of.has_value());
  }
  CHECK_FALSE(ahead.begin_copy().has_value());
  CHECK(ahead.copies_in_flight() == 3);
  CHECK_FALSE(ahead.stuck());
}

TEST_CASE("a copy waits for the uses of those whose bytes it takes, and for no later ones") {
  CopyAhead ahead(equal_chunks(8, 1), 3 * kPage, 1);
  ahead.resume();
  for (int i = 0; i < 3; i++) REQUIRE(ahead.begin_copy().has_value());
  for (int i = 0; i < 3; i++) use(ahead);  // enqueued; none of them has run
  for (std::uint64_t turn = 3; turn < 6; turn++) {
    const auto copy = ahead.begin_copy();
    REQUIRE(copy.has_value());
    CHECK(copy->turn == turn);
    CHECK(copy->after_use_of == std::optional(turn - 3));
  }
  CHECK_FALSE(ahead.begin_copy().has_value());
}

TEST_CASE("what the copy stream is behind already is not waited for again") {
  CopyAhead ahead({{3 * kPage, 3 * kPage, false}, {kPage, kPage, false}}, 4 * kPage, 1);
  ahead.resume();
  REQUIRE(ahead.begin_copy().has_value());  // turn 0: pages 0..2
  REQUIRE(ahead.begin_copy().has_value());  // turn 1: page 3
  use(ahead);
  use(ahead);
  const auto large = ahead.begin_copy();
  REQUIRE(large.has_value());
  CHECK(large->after_use_of == std::optional<std::uint64_t>(0));
  const auto small = ahead.begin_copy();
  REQUIRE(small.has_value());
  CHECK(small->after_use_of == std::optional<std::uint64_t>(1));
  // Several small ones in the place of one large one wait for it once.
  CopyAhead other({{2 * kPage, kPage, false}, {kPage, kPage, false}, {kPage, kPage, false}}, 2 * kPage, 1);
  other.resume();
  REQUIRE(other.begin_copy().has_value());
  use(other);
  CHECK(other.begin_copy().value().after_use_of == std::optional<std::uint64_t>(0));
  CHECK_FALSE(other.begin_copy().value().after_use_of.has_value());
}

TEST_CASE("room that is given back is used again while others are still held") {
  CopyAhead ahead(equal_chunks(8, 1), 3 * kPage, 3);
  ahead.resume();
  for (int i = 0; i < 3; i++) {
    REQUIRE(ahead.begin_copy().has_value());
    ahead.acquire();
  }
  CHECK_FALSE(ahead.begin_copy().has_value());
  ahead.release(1);
  CHECK_FALSE(ahead.begin_copy().has_value());  // in the order of the ring
  ahead.release(0);
  for (std::uint64_t turn = 3; turn < 5; turn++) {
    const auto copy = ahead.begin_copy();
    REQUIRE(copy.has_value());
    CHECK(copy->offset == (turn - 3) * kPage);
  }
  CHECK_FALSE(ahead.begin_copy().has_value());
}

TEST_CASE("a chunk from disk is asked for when there is room for it, and its source goes when it was copied") {
  CopyAhead ahead(equal_chunks(2, 1, true), 2 * kPage, 1);
  ahead.resume();
  CHECK_FALSE(ahead.wanted_source().has_value());  // nobody has asked for a copy
  CHECK_FALSE(ahead.begin_copy().has_value());
  CHECK(ahead.wanted_source() == std::optional<std::uint64_t>(0));
  CHECK_FALSE(ahead.can_acquire());
  CHECK_FALSE(ahead.stuck());
  ahead.source_arrived();
  CHECK(ahead.begin_copy().value().turn == 0);
  CHECK(ahead.can_acquire());
  CHECK_FALSE(ahead.begin_copy().has_value());
  CHECK(ahead.wanted_source() == std::optional<std::uint64_t>(1));
  CHECK(ahead.end_copy(0, nullptr));
  CHECK(ahead.stage(0) == CopyAhead::Stage::there);
}

TEST_CASE("beginning anew keeps what is there of the next step, unless it came from disk") {
  for (const bool from_disk : {false, true}) {
    CAPTURE(from_disk);
    CopyAhead ahead(equal_chunks(2, 1, from_disk), 10 * kPage, 2);
    ahead.resume();
    for (std::uint64_t turn = 0; turn < 3; turn++) {
      if (from_disk) {
        REQUIRE_FALSE(ahead.begin_copy().has_value());
        ahead.source_arrived();
      }
      REQUIRE(ahead.begin_copy().value().turn == turn);
      ahead.end_copy(turn, nullptr);
    }
    ahead.acquire();
    ahead.pause();
    ahead.start_over();
    CHECK(ahead.next() == (from_disk ? 0 : 2));
    CHECK(ahead.begun(ahead.next()) == !from_disk);
    CHECK_FALSE(ahead.begin_copy().has_value());  // still paused
  }
}

TEST_CASE("what is forgotten is copied again, whatever was there of the next step") {
  CopyAhead ahead(equal_chunks(2, 1), 10 * kPage, 1);
  ahead.resume();
  for (std::uint64_t turn = 0; turn < 3; turn++) {
    REQUIRE(ahead.begin_copy().value().turn == turn);
    ahead.end_copy(turn, nullptr);
  }
  ahead.acquire();
  ahead.release(0);
  ahead.pause();
  ahead.forget();
  CHECK(ahead.next() == 0);
  CHECK_FALSE(ahead.begun(0));
  CHECK_FALSE(ahead.begin_copy().has_value());  // still paused
  ahead.resume();
  const auto copy = ahead.begin_copy();
  REQUIRE(copy.has_value());
  CHECK(copy->turn == 0);
  CHECK(copy->offset == 0);
  CHECK_FALSE(copy->after_use_of.has_value());
}

TEST_CASE("a copy that failed is not used, and not kept") {
  CopyAhead ahead(equal_chunks(2, 1), 10 * kPage, 1);
  ahead.resume();
  REQUIRE(ahead.begin_copy().has_value());
  ahead.end_copy(0, std::make_exception_ptr(std::runtime_error("simulated")));
  CHECK(ahead.stage(0) == CopyAhead::Stage::failed);
  CHECK(ahead.failure(0) != nullptr);
  CHECK_FALSE(ahead.can_acquire());
  ahead.pause();
  ahead.start_over();
  ahead.resume();
  CHECK(ahead.begin_copy().value().turn == 0);
}

TEST_CASE("however much room there is, no more turns are begun than there are places among the events") {
  CopyAhead ahead(equal_chunks(1, 1), 5000 * kPage, 1);
  ahead.resume();
  std::size_t begun = 0;
  while (ahead.begin_copy()) begun++;
  CHECK(begun == ahead.most_turns());
  for (std::size_t i = 0; i < begun; i++) use(ahead);
  CHECK_FALSE(ahead.begin_copy().has_value());  // that the first is complete was not said: its event cannot be recorded anew
  ahead.end_copy(0, nullptr);
  const auto copy = ahead.begin_copy();
  REQUIRE(copy.has_value());
  CHECK(ahead.slot(copy->turn) == ahead.slot(0));
  CHECK(copy->after_use_of == std::optional<std::uint64_t>(0));  // the event that will be recorded anew
}
