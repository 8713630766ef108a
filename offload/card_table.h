// Graphics cards and hosts as rows of two tables: what `plan --card NAME --host NAME` computes with instead of asking this machine. Figures of data sheets and of published measurements; nothing here was measured
// by this project, and no card has run it yet.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace leafcutter::offload {

struct Card {
  const char* name;
  int capability;               // compute capability, 61 for 6.1
  std::uint64_t memory_bytes;   // on the card
  double free_share;            // of it that programs get: the rest is the display's and the driver's
  std::uint64_t context_bytes;  // taken by the driver for one process: context, code, stacks. Charged to the budget of device memory
  double dram_bytes_per_s;      // peak
  double dram_share;            // of the peak that kernels reach
  int multiprocessors;
  double clock_hz;
  int dot_lanes;            // of a multiprocessor: dp4a instructions of threads a clock
  double link_bytes_per_s;  // host -> device, usable, from pinned memory
  double link_latency_s;    // of a copy that finds the link idle; of activations going down and results coming up
  double launch_s;          // what a kernel takes beyond moving and computing
  int copy_engines;         // with one, copies down wait for the copy that is on its way up

  std::uint64_t free_bytes() const { return static_cast<std::uint64_t>(static_cast<double>(memory_bytes) * free_share); }
  double usable_dram() const { return dram_bytes_per_s * dram_share; }
  double int8_ops_per_s() const { return 8.0 * multiprocessors * dot_lanes * clock_hz; }  // peak; multiply and add count as two
};

struct CardHost {
  const char* name;
  std::uint64_t memory_bytes;
  std::uint64_t others_bytes;          // of it, what the system and other programs keep
  std::uint64_t process_bytes;         // charged to the process before any weight is there: code, libraries, the driver's part in it
  double dram_bytes_per_s;             // usable, shared by all that moves: copies to the card, arrivals from disk, products
  double product_bytes_per_s;          // weights moved by products of one row, where memory is no limit
  double int8_ops_per_s;               // products of many rows
  double attention_ops_per_s;          // of many rows, which share the keys that are read and widened
  double attention_one_row_ops_per_s;  // of one row
  double disk_bytes_per_s;
  double disk_latency_s;
  double check_bytes_per_s;  // hashing, one thread
  double meeting_s;          // handing a product out to the threads and meeting again
  double lookup_s;           // a row of an embedding from disk
};

std::span<const Card> cards();
std::span<const CardHost> card_hosts();

// Throw Error(usage) that lists the names.
const Card& find_card(const std::string& name);
const CardHost& find_card_host(const std::string& name);

}  // namespace leafcutter::offload
