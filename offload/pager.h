// Carries a plan out: chunks are resident from the start or streamed from disk through a ring, read ahead in the order of use, cyclic across steps, checked before anyone sees them.
//
// The order of use is fixed: the chunks of `order` one after another, again and again. Streamed chunks are read ahead as far as the ring has room, in pieces, several direct reads in flight; hash and
// codec run in the shadow of the reads on the pager's own thread(s). acquire and release are called from one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <vector>

#include "base/file.h"
#include "compress/leaf_index.h"
#include "offload/memory_account.h"
#include "offload/planner.h"
#include "offload/read_shape.h"

namespace leafcutter::offload {

class Trace;

enum class ReadBackend { automatic, io_uring, threads };  // automatic: io_uring where the system allows it and the file has a descriptor

struct PagerOptions {
  ReadBackend backend = ReadBackend::automatic;
  ReadShape reads{};             // chunks are read in pieces
  std::size_t read_threads = 4;  // of the threads backend
  Trace* trace = nullptr;        // where reads, checks and waits are noted; must outlive the pager
};

struct PagerStats {
  std::uint64_t read_bytes = 0;       // from disk, since the pager was made
  std::uint64_t streamed_chunks = 0;  // delivered
  double wait_seconds = 0;            // acquire() had to wait
  double disk_busy_seconds = 0;       // at least one read was in flight
  double check_seconds = 0;           // hashing and decoding, all threads
  double load_seconds = 0;            // load_residents
  const char* backend = "";           // "io_uring" or "threads"
  bool direct = false;                // O_DIRECT in use
  bool huge_pages = false;
};

class Pager {
 public:
  // `order`: all chunks that a step visits, resident and streamed; chunks that are resident without being visited are loaded too. Allocates arena and ring and enters them in the account. Throws Error(out_of_budget).
  Pager(std::shared_ptr<File> file, const compress::LeafIndex& index, const Plan& plan, std::vector<std::uint32_t> order,
        MemoryAccount& account, const PagerOptions& options = {});
  ~Pager();  // waits for reads in flight

  // Reads and checks all residents; progress(bytes done, bytes in all). Throws Error(io | bad_file | cancelled). Then starts to read ahead.
  void load_residents(const std::function<void(std::uint64_t, std::uint64_t)>& progress = {}, std::stop_token stop = {});

  // The blob of a chunk, valid until release. Chunks must be acquired in `order`; several may be held at once as long as they fit the ring together
  // (the plan sees to it that any two streamed neighbours do). Throws Error(io | bad_file) naming the chunk's place; after an error the pager can be used again from reset().
  std::span<const std::byte> acquire(std::size_t chunk);
  void release(std::size_t chunk);
  // acquire() of this chunk, which must be the next of the order, would not have to wait.
  bool is_ready(std::size_t chunk) const;
  // Is this chunk in memory for good? Its blob stays valid after release.
  bool is_resident(std::size_t chunk) const;
  // Where all blobs lie: whole pages, for a device to pin.
  std::vector<std::span<std::byte>> memory() const;

  // The step was given up in the middle (cancelled, an error): the next acquire begins at the first chunk of the order.
  void reset();

  PagerStats stats() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace leafcutter::offload
