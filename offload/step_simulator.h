// Plays the pager's schedule on paper: reads ahead through the ring in the order of use, checks behind them, compute behind the checks. What `plan` predicts with.
//
// A fluid model of three resources. The disk serves reads, pieces of chunks, in order at one rate, several requested at once hide its latency. A check works on one thread, compute on all of them; while both work they
// share the cores, and each goes at a measured fraction of its own speed. The ring is the pager's own ByteRing, so that what fits ahead here fits ahead there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "offload/read_shape.h"

namespace leafcutter::offload {

// One visit of a step: a chunk that is resident or streamed, and the work that waits for it.
struct SimulatedChunk {
  bool streamed = false;
  std::uint64_t slot_bytes = 0;  // in the ring
  std::uint64_t read_bytes = 0;  // from disk
  double check_seconds = 0;      // hash and codec, on one thread with nothing beside it
  double compute_seconds = 0;    // all threads, with nothing beside them
  std::size_t held = 0;          // further visits that pass before it is given back
};

struct SimulationRates {
  double disk_bytes_per_s = 1e9;
  double read_latency_s = 0;  // of a read that finds the disk idle
  ReadShape reads;
  std::size_t checkers = 1;
  double compute_beside_check = 1;  // speed of compute while a check runs, of its own
  double check_beside_compute = 1;  // and the other way round
};

struct StepSimulation {
  double seconds = 0;       // of one step, averaged over those that are counted
  double disk_seconds = 0;  // busy, of one step
  double check_seconds = 0;
  double compute_seconds = 0;
  double wait_seconds = 0;  // compute had nothing to do
};

// Plays `warm` steps and then `counted` ones; the ring is empty when the first begins. counted >= 1, ring_bytes at least the largest slot (the planner sees to it), every number finite.
StepSimulation simulate_steps(std::span<const SimulatedChunk> step, std::uint64_t ring_bytes, const SimulationRates& rates,
                              std::size_t warm, std::size_t counted);

}  // namespace leafcutter::offload
