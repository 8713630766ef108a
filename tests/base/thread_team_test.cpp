#include "base/thread_team.h"

#include <doctest/doctest.h>

#include <atomic>
#include <stdexcept>
#include <vector>

using leafcutter::ThreadTeam;

TEST_CASE("every piece of every job is done once") {
  for (std::size_t threads : {1, 2, 5}) {
    ThreadTeam team(threads);
    REQUIRE(team.size() == threads);
    for (std::size_t job = 0; job < 3000; job++) {
      const std::size_t pieces = job % 17;
      std::vector<std::atomic<int>> done(pieces);
      team.run(pieces, [&](std::size_t piece, std::size_t thread) {
        if (thread < threads) done.at(piece)++;
      });
      for (const auto& count : done) REQUIRE(count == 1);
    }
  }
}

TEST_CASE("an exception of a piece comes out of run and the team goes on") {
  ThreadTeam team(3);
  CHECK_THROWS_AS(team.run(50,
                           [](std::size_t piece, std::size_t) {
                             if (piece == 20) throw std::runtime_error("piece 20");
                           }),
                  std::runtime_error);
  std::atomic<int> done = 0;
  team.run(50, [&](std::size_t, std::size_t) { done++; });
  CHECK(done == 50);
}
