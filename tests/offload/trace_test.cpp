#include "offload/trace.h"

#include <doctest/doctest.h>

#include <cmath>
#include <thread>

using namespace leafcutter::offload;

TEST_CASE("events come out in order of their beginnings, whoever added them") {
  Trace trace(10'000);
  {
    std::vector<std::jthread> threads;
    for (std::uint32_t t = 0; t < 4; t++)
      threads.emplace_back([&trace, t] {
        for (int i = 0; i < 1000; i++) trace.add(TraceKind::check, trace.now_ns(), t, 5);
      });
  }
  const std::vector<TraceEvent> events = trace.events();
  REQUIRE(events.size() == 4000);
  CHECK(trace.dropped() == 0);
  std::size_t of_thread[4] = {};
  for (std::size_t i = 0; i < events.size(); i++) {
    if (i > 0) CHECK(events[i].begin_ns >= events[i - 1].begin_ns);
    CHECK(events[i].end_ns >= events[i].begin_ns);
    CHECK(events[i].bytes == 5);
    of_thread[events[i].subject]++;
  }
  for (const std::size_t count : of_thread) CHECK(count == 1000);
}

TEST_CASE("what does not fit is counted") {
  Trace trace(3);
  for (std::uint32_t i = 0; i < 5; i++) trace.add(TraceKind::read, 0, i);
  CHECK(trace.events().size() == 3);
  CHECK(trace.dropped() == 2);
}

TEST_CASE("a summary counts overlapping events of a kind once, and only what lies in its stretch") {
  const std::vector<TraceEvent> events = {{0, 400, 0, 10, TraceKind::read},
                                          {100, 300, 1, 10, TraceKind::read},
                                          {200, 600, 2, 10, TraceKind::read},
                                          {700, 900, 0, 0, TraceKind::check},
                                          {5000, 6000, 0, 0, TraceKind::check}};
  const TraceSummary summary = summarize(events, 100, 1000);
  CHECK(std::abs(summary.wall_seconds - 900e-9) < 1e-15);
  CHECK(std::abs(summary.of(TraceKind::read).busy_seconds - 500e-9) < 1e-15);
  CHECK(std::abs(summary.of(TraceKind::read).sum_seconds - 900e-9) < 1e-15);
  CHECK(summary.of(TraceKind::read).bytes == 30);
  CHECK(std::abs(summary.of(TraceKind::check).busy_seconds - 200e-9) < 1e-15);
  CHECK(summary.of(TraceKind::check).events == 1);
  CHECK(summary.of(TraceKind::step).events == 0);
}
