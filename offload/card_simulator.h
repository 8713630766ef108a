// Plays both hops on a clock that is not real: disk -> host memory by ReadAhead, host memory -> card by CopyAhead, kernels on the card, products on the host. What `plan --card` predicts with; deterministic.
//
// Lanes: the disk serves reads in order at one rate; checks go one after another; the link carries one copy at a time, in order; the card runs one kernel at a time, in the order in which they were enqueued; the host
// computes one piece at a time. The host's memory is a fluid that arrivals from disk and copies to the card take first; the products of the host go as fast as what is left lets them. Activations that cross the link
// cost a latency and their bytes: down through a copy engine, up read by the kernel that wants them from pinned memory, so that they never queue behind a copy of weights.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "offload/card_table.h"
#include "offload/copy_ahead.h"
#include "offload/read_ahead.h"

namespace leafcutter::offload {

constexpr std::size_t kNone = ~std::size_t{0};

// Products that have the same input, attention, or what lies between two steps. The card's share and the host's run at the same time; the next stage begins when both are there, on the card if it has had a share.
struct CardStage {
  struct CardWork {
    double seconds = 0;
    std::size_t copy = kNone;  // the copy of this step whose bytes it needs; none: what is on the card
  };
  struct HostWork {
    double seconds = 0;             // with all of the host's memory to itself
    double bytes = 0;               // moved from it meanwhile
    std::size_t disk_turn = kNone;  // the chunk from disk that it needs; none: what is in memory
  };
  std::vector<CardWork> card;                       // empty: the host does all of it
  std::vector<HostWork> host;                       // empty: the card does
  std::uint64_t input_bytes = 0, output_bytes = 0;  // that cross the link when the input is on the other side; that the host's share gives
  double card_before = 0;                           // seconds of the card's kernels that make the input: it goes down when they are done
};

struct CardStep {
  struct DiskChunk {
    ReadAhead::Chunk chunk;
    double check_seconds = 0;
    int uses = 1;  // a copy, and each piece of the host's work
  };
  std::vector<CardStage> stages;  // the last one is the host's alone: it takes the logits and gives the rows that the next step begins with
  std::vector<CopyAhead::Chunk> copies;
  std::vector<std::size_t> copy_source;  // of each copy: the disk chunk that it is taken from; kNone
  std::vector<DiskChunk> disk;
  std::uint64_t card_ring_bytes = 0, host_ring_bytes = 0;
  std::size_t staging_slots = 0;
  bool look_ahead_over_steps = true;  // false: the first copy of a step begins when the step does
};

struct CardStepTime {
  double seconds = 0;  // of one step, averaged over those that are counted
  // Busy, of one step.
  double disk = 0, check = 0, link = 0, card = 0, host = 0;
  // The card has nothing to do: because of a copy, of a chunk that is not in host memory yet, of the host's share or the way to it.
  double wait_link = 0, wait_disk = 0, wait_host = 0;
  // From first principles: what each lane has to do at its best rate. The host: its products, or everything that its memory has to move, whichever is longer.
  double bound_disk = 0, bound_check = 0, bound_link = 0, bound_card = 0, bound_host = 0;
  double host_memory_bytes = 0;  // moved by a step: arrivals, copies, products
  double bound() const;
  const char* limit() const;  // "link", "device", "host", "disk" or "check": the longest
};

// The bounds alone, without playing anything.
CardStepTime card_bounds(const CardStep& step, const Card& card, const CardHost& host);

// `warm` steps with empty rings before them, then `counted`. Rings must have room for four of their largest slots; what cannot go on takes for ever (seconds is infinite).
CardStepTime simulate_card(const CardStep& step, const Card& card, const CardHost& host, std::size_t warm, std::size_t counted);

}  // namespace leafcutter::offload
