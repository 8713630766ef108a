#include "offload/step_simulator.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

using namespace leafcutter::offload;

namespace {

constexpr std::uint64_t kChunk = 4 << 20;

SimulatedChunk streamed(double compute = 0.001, double check = 0) { return {true, kChunk, kChunk, check, compute, 0}; }
SimulatedChunk resident(double compute = 0.001) { return {false, kChunk, kChunk, 0, compute, 0}; }

SimulationRates rates(double disk_bytes_per_s) {
  SimulationRates r;
  r.disk_bytes_per_s = disk_bytes_per_s;
  return r;
}

double near(double value, double expected) { return std::abs(value - expected) / expected; }

}  // namespace

TEST_CASE("a step of residents takes what its computing takes") {
  const std::vector<SimulatedChunk> step(10, resident(0.002));
  const StepSimulation s = simulate_steps(step, 0, rates(1e9), 1, 3);
  CHECK(near(s.seconds, 0.02) < 1e-9);
  CHECK(s.disk_seconds == 0);
  CHECK(s.wait_seconds == 0);
}

TEST_CASE("a step that waits for the disk takes its bytes at the disk's rate, whatever computing hides behind them") {
  const std::vector<SimulatedChunk> step(16, streamed(0.001));
  const StepSimulation s = simulate_steps(step, 8 * kChunk, rates(1e9), 2, 4);
  CHECK(near(s.seconds, 16.0 * kChunk / 1e9) < 1e-6);
  CHECK(near(s.disk_seconds, s.seconds) < 1e-6);
  CHECK(near(s.compute_seconds, 0.016) < 1e-6);
  CHECK(near(s.wait_seconds, s.seconds - 0.016) < 1e-6);
}

TEST_CASE("a step that waits for computing takes that long, reads hide behind it") {
  const std::vector<SimulatedChunk> step(16, streamed(0.01));
  const StepSimulation s = simulate_steps(step, 8 * kChunk, rates(1e9), 2, 4);
  CHECK(near(s.seconds, 0.16) < 1e-6);
  CHECK(near(s.disk_seconds, 16.0 * kChunk / 1e9) < 1e-6);
}

TEST_CASE("a ring of one slot makes reading and computing take turns") {
  const std::vector<SimulatedChunk> step(8, streamed(0.003));
  const StepSimulation s = simulate_steps(step, kChunk, rates(1e9), 2, 4);
  CHECK(near(s.seconds, 8 * (0.003 + kChunk / 1e9)) < 1e-6);
}

TEST_CASE("reading goes on across the end of a step") {
  // The last chunks are resident and take long: a ring that is filled meanwhile spares the next step that much of waiting.
  std::vector<SimulatedChunk> step(8, streamed(0));
  step.push_back(resident(8.0 * kChunk / 1e9));
  const StepSimulation s = simulate_steps(step, 8 * kChunk, rates(1e9), 2, 4);
  CHECK(near(s.seconds, 8.0 * kChunk / 1e9) < 1e-6);
}

TEST_CASE("one read at a time pays its latency each time, several hide it") {
  const std::vector<SimulatedChunk> step(16, streamed(0));
  SimulationRates one = rates(1e9);
  one.reads = {kChunk, 1};
  one.read_latency_s = 0.002;
  SimulationRates several = one;
  several.reads.in_flight = 4;
  CHECK(near(simulate_steps(step, 8 * kChunk, one, 2, 4).seconds, 16 * (0.002 + kChunk / 1e9)) < 1e-6);
  CHECK(near(simulate_steps(step, 8 * kChunk, several, 2, 4).seconds, 16 * (kChunk / 1e9)) < 1e-6);
}

TEST_CASE("checks that are slower than the disk are the limit, two checkers halve them") {
  const std::vector<SimulatedChunk> step(16, streamed(0, 0.02));
  SimulationRates r = rates(1e9);
  CHECK(near(simulate_steps(step, 8 * kChunk, r, 2, 4).seconds, 16 * 0.02) < 1e-6);
  r.checkers = 2;
  CHECK(near(simulate_steps(step, 8 * kChunk, r, 2, 4).seconds, 8 * 0.02) < 1e-6);
}

TEST_CASE("checks and computing slow each other down as measured") {
  // Computing never stops, one check runs all the time: both at half speed.
  const std::vector<SimulatedChunk> step(16, streamed(0.01, 0.01));
  SimulationRates r = rates(1e12);
  r.compute_beside_check = r.check_beside_compute = 0.5;
  CHECK(near(simulate_steps(step, 8 * kChunk, r, 2, 4).seconds, 16 * 0.02) < 1e-6);
}

TEST_CASE("a chunk that is held keeps its place in the ring") {
  // Held for three more visits in a ring of four: only when the fourth ends may the first be overwritten.
  std::vector<SimulatedChunk> step;
  for (std::size_t i = 0; i < 8; i++) {
    step.push_back(streamed(0.001));
    step.back().held = 3 - i % 4;
  }
  const double alone = simulate_steps(std::vector<SimulatedChunk>(8, streamed(0.001)), 4 * kChunk, rates(1e9), 2, 4).seconds;
  const double held = simulate_steps(step, 4 * kChunk, rates(1e9), 2, 4).seconds;
  CHECK(held > alone);
  CHECK(near(held, 2 * (4 * kChunk / 1e9 + 0.001)) < 1e-6);
}

TEST_CASE("no schedule is faster than its slowest resource or slower than all of them in turn") {
  std::mt19937_64 random(7);
  const auto up_to = [&](double most) { return std::uniform_real_distribution<double>(0, most)(random); };
  for (int round = 0; round < 300; round++) {
    std::vector<SimulatedChunk> step(1 + random() % 40);
    double disk = 0, check = 0, compute = 0;
    for (SimulatedChunk& c : step) {
      c.streamed = random() % 3 != 0;
      c.slot_bytes = c.read_bytes = 4096 * (1 + random() % 1024);
      c.check_seconds = up_to(0.004);
      c.compute_seconds = up_to(0.01);
      compute += c.compute_seconds;
      if (!c.streamed) continue;
      disk += static_cast<double>(c.read_bytes) / 1e9;
      check += c.check_seconds;
    }
    SimulationRates r = rates(1e9);
    r.reads.in_flight = 1 + random() % 8;
    const StepSimulation s = simulate_steps(step, 4 * kChunk + random() % (32 << 20), r, 2, 8);
    CHECK(s.seconds >= std::max({disk, check, compute}) * (1 - 1e-9));
    CHECK(s.seconds <= (disk + check + compute) * (1 + 1e-9));
    CHECK(near(s.compute_seconds + s.wait_seconds, s.seconds) < 1e-6);
  }
}
