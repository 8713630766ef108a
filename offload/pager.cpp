#include "offload/pager.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <fstream>
#include <iterator>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "base/checked.h"
#include "base/error.h"
#include "base/page_buffer.h"
#include "compress/leaf_reader.h"
#include "offload/byte_ring.h"
#include "offload/chunk_sizes.h"
#include "offload/read_queue.h"
#include "offload/resident_loader.h"
#include "offload/system_text.h"
#include "offload/trace.h"

namespace leafcutter::offload {
namespace {

using Clock = std::chrono::steady_clock;
using compress::ChunkEntry;
using compress::Codec;
using compress::LeafIndex;

double seconds_between(Clock::time_point from, Clock::time_point to) { return std::chrono::duration<double>(to - from).count(); }

constexpr std::size_t kNowhere = ~std::size_t{0};

// A user may hold all streamed chunks of one module at once.
std::size_t most_streamed_of_a_module(const LeafIndex& index, const Plan& plan) {
  std::size_t most = 0;
  for (const compress::ModuleEntry& m : index.modules) {
    const auto first = plan.resident.begin() + m.first_chunk;
    most = std::max(most, static_cast<std::size_t>(std::count(first, first + m.chunk_count, false)));
  }
  return most;
}

PagerOptions usable(PagerOptions options) {
  options.reads.in_flight = std::max<std::size_t>(1, options.reads.in_flight);
  options.read_threads = std::max<std::size_t>(1, options.read_threads);
  options.reads.bytes = std::max<std::size_t>(compress::kPage, options.reads.bytes / compress::kPage * compress::kPage);
  return options;
}

// Does the kernel back at least half of `bytes` of this process with huge pages? Some containers refuse them, and direct reads then run at half the rate.
bool huge_pages_back(std::uint64_t bytes) {
  std::ifstream in("/proc/self/smaps_rollup");
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  return bytes > 0 && number_of(text, "AnonHugePages").value_or(0) >= bytes / 2;
}

}  // namespace

// Streamed chunks are numbered on and on: turn n is chunk streamed[n % streamed.size()]. Turns first..issued-1 have a region of the ring each; `acquired` is the next to be asked for.
//
// Whoever changes something that could let a read begin (a region given back, a staging slot freed, a read ended) calls issue() before it lets the mutex go. So there is no thread that only
// decides, and nothing to wake for it: reads begin where the reason for them arises.
struct Pager::State {
  enum class Stage { reading, arrived, checking, ready, failed, released };
  struct Region {
    std::uint32_t chunk = 0;
    std::size_t offset = 0;   // in the ring
    std::size_t staging = 0;  // slot of the staging area where a coded chunk is read to; kNowhere: none
    Stage stage = Stage::reading;
    std::size_t asked = 0;      // bytes of it that reads were begun for
    std::size_t in_flight = 0;  // reads of it
    std::exception_ptr failure;
    std::uint64_t asked_ns = 0;  // of the trace
  };

  State(std::shared_ptr<File> the_file, const LeafIndex& the_index, const Plan& plan, std::vector<std::uint32_t> order,
        MemoryAccount& account, const PagerOptions& the_options)
      : file(std::move(the_file)),
        index(the_index),
        options(usable(the_options)),
        resident_offset(index.chunks.size(), kNowhere),
        ring(static_cast<std::size_t>(plan.ring_bytes)) {
    std::size_t arena_bytes = 0;
    const auto keep = [&](std::uint32_t c) {
      resident_offset[c] = arena_bytes;
      arena_bytes += slot_bytes(index.chunks[c]);
      residents.push_back(c);
    };
    for (const std::uint32_t c : order) {
      if (plan.resident.at(c))
        keep(c);
      else
        streamed.push_back(c);
      if (index.chunks[c].codec != Codec::none) staging_slot = std::max(staging_slot, stored_pages(index.chunks[c]));
    }
    for (std::uint32_t c = 0; c < plan.resident.size(); c++)  // those that no step visits: a table whose rows are looked up
      if (plan.resident[c] && resident_offset[c] == kNowhere) keep(c);
    arena = PageBuffer(arena_bytes, "resident weights", false);
    if (arena_bytes > 0) arena_entry = account.add("resident weights", Tier::host, arena_bytes);
    if (staging_slot > 0) {
      staging = PageBuffer(kStagingSlots * staging_slot, "staging of coded chunks");
      staging_entry = account.add("staging of coded chunks", Tier::host, staging.size());
      for (std::size_t slot = 0; slot < kStagingSlots; slot++) free_staging.push_back(slot);
    }
    if (streamed.empty()) return;
    ring_memory = PageBuffer(static_cast<std::size_t>(plan.ring_bytes), "ring of streamed chunks");
    ring_entry = account.add("ring of streamed chunks", Tier::host, plan.ring_bytes);
    regions.resize(kRegionsAhead + most_streamed_of_a_module(index, plan));
    to_check.reserve(regions.size());
    const ReadDone done = [this](std::uint64_t turn, std::exception_ptr failure) { arrived(turn, failure); };
    const std::size_t depth = options.reads.in_flight;
    if (options.backend != ReadBackend::threads && (file->descriptor() >= 0 || options.backend == ReadBackend::io_uring)) {
      try {
        queue = make_uring_read_queue(file, ring_memory.bytes(), depth, done);
      } catch (const Error&) {
        if (options.backend == ReadBackend::io_uring) throw;
      }
    }
    if (!queue) queue = make_thread_read_queue(file, std::min(options.read_threads, depth), depth, done);
    // One core hashes faster than disks read; decoding is slower, so that coded chunks have a second one.
    const std::size_t wanted = staging_slot > 0 ? 2 : 1;
    checkers.reserve(wanted);
    try {
      while (checkers.size() < wanted) checkers.emplace_back([this] { check_loop(); });
    } catch (const std::system_error& e) {
      if (checkers.empty()) throw Error(ErrorKind::io, "pager", std::string("the system gives no thread: ") + e.what());
    }
  }

  ~State() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
    }
    queue.reset();  // reads in flight end here
    arrivals.notify_all();
    checkers.clear();
  }

  // ---- reading ahead; the mutex is held

  Region& region(std::uint64_t turn) { return regions[turn % regions.size()]; }
  std::uint32_t chunk_of(std::uint64_t turn) const { return streamed[turn % streamed.size()]; }

  // A chunk is read in pieces, in order: disks share their rate out among the reads that are in flight, so that large reads begun together also end together, and late; small ones deliver chunk after
  // chunk with as many bytes in flight as the disk wants and no more.
  void issue() {
    while (!stopping && in_flight < options.reads.in_flight) {
      if (!asking && !begin_region()) return;
      ask_piece();
    }
  }

  // Room for the next chunk; false when there is none now.
  bool begin_region() {
    if (paused || issued - first >= regions.size()) return false;
    const std::uint32_t c = chunk_of(issued);
    const ChunkEntry& chunk = index.chunks[c];
    const bool coded = chunk.codec != Codec::none;
    if (coded && free_staging.empty()) return false;
    const auto at = ring.take(slot_bytes(chunk));
    if (!at) return false;
    Region& r = region(issued);
    r = Region{};
    r.chunk = c;
    r.offset = *at;
    r.staging = kNowhere;
    if (options.trace) r.asked_ns = options.trace->now_ns();
    if (coded) {
      r.staging = free_staging.back();
      free_staging.pop_back();
    }
    issued++;
    unsettled++;
    asking = true;
    return true;
  }

  // Where a region's chunk is read to.
  std::span<std::byte> stored_of(const Region& r) const {
    const std::size_t bytes = stored_pages(index.chunks[r.chunk]);
    return r.staging == kNowhere ? ring_memory.bytes().subspan(r.offset, bytes) : staging.bytes().subspan(r.staging * staging_slot, bytes);
  }

  // The next piece of the youngest region.
  void ask_piece() {
    const std::uint64_t turn = issued - 1;
    Region& r = region(turn);
    const std::span<std::byte> stored = stored_of(r);
    const std::span<std::byte> piece = stored.subspan(r.asked, std::min(options.reads.bytes, stored.size() - r.asked));
    const std::uint64_t offset = index.chunks[r.chunk].file_offset + r.asked;
    r.asked += piece.size();
    r.in_flight++;
    asking = r.asked < stored.size();
    if (in_flight++ == 0) busy_since = Clock::now();
    stats.read_bytes += piece.size();
    queue->submit({offset, piece, turn});
  }

  void arrived(std::uint64_t turn, const std::exception_ptr& failure) {
    bool settled = false, whole = false;
    {
      const std::lock_guard lock(mutex);
      if (--in_flight == 0) stats.disk_busy_seconds += seconds_between(busy_since, Clock::now());
      Region& r = region(turn);
      r.in_flight--;
      if (failure && !r.failure) r.failure = named(r.chunk, failure);
      if (r.failure && asking_for(turn)) asking = false;  // the rest of it is of no use
      if (r.in_flight == 0 && !asking_for(turn)) {
        if (options.trace) options.trace->add(TraceKind::read, r.asked_ns, r.chunk, r.asked);
        if (r.failure) {
          settled = true;
          finish(r, Stage::failed);
        } else {
          whole = true;
          r.stage = Stage::arrived;
          to_check.push_back(turn);
        }
      }
      issue();
    }
    if (settled) changed.notify_one();
    if (whole) arrivals.notify_one();
  }

  // Are there pieces of this region that no read was begun for?
  bool asking_for(std::uint64_t turn) const { return asking && turn + 1 == issued; }

  // A read's error says where in the file; people want to know which chunk of what.
  std::exception_ptr named(std::uint32_t chunk, const std::exception_ptr& failure) const {
    try {
      std::rethrow_exception(failure);
    } catch (const Error& e) {
      return std::make_exception_ptr(Error(e.kind(), compress::chunk_place(index, chunk), e.what()));
    } catch (...) { return failure; }
  }

  void finish(Region& r, Stage stage) {
    r.stage = stage;
    unsettled--;
    if (r.staging != kNowhere) {
      free_staging.push_back(r.staging);
      r.staging = kNowhere;
    }
  }

  void check_loop() {
    std::unique_lock lock(mutex);
    for (;;) {
      arrivals.wait(lock, [this] { return stopping || !to_check.empty(); });
      if (stopping) return;
      const std::uint64_t turn = to_check.front();
      to_check.erase(to_check.begin());
      Region& r = region(turn);
      r.stage = Stage::checking;
      const ChunkEntry& chunk = index.chunks[r.chunk];
      const std::span<std::byte> raw = ring_memory.bytes().subspan(r.offset, chunk.raw_bytes);
      const std::span<const std::byte> stored = stored_of(r);
      lock.unlock();
      const auto start = Clock::now();
      std::exception_ptr failure;
      try {
        const TraceSpan span(options.trace, TraceKind::check, r.chunk, chunk.raw_bytes);
        compress::decode_chunk(index, r.chunk, stored, raw, file->name());
      } catch (...) { failure = std::current_exception(); }
      const double spent = seconds_between(start, Clock::now());
      lock.lock();
      stats.check_seconds += spent;
      r.failure = failure;
      finish(r, failure ? Stage::failed : Stage::ready);
      issue();
      changed.notify_one();  // acquire and reset are called from one thread
    }
  }

  void free_released() {
    while (first < acquired && region(first).stage == Stage::released) {
      first++;
      ring.give_back_oldest(first < issued ? region(first).offset : 0);
    }
    issue();
  }

  // Begins the order anew. Late in a step the next one's first chunks are there already: then they stay.
  void start_over(std::unique_lock<std::mutex>& lock) {
    const bool was_paused = std::exchange(paused, true);
    // Reads and checks under way end first: nothing may write into a region that is given away, and none of their errors may come up later.
    changed.wait(lock, [this] { return unsettled == 0; });
    const std::uint64_t next = round_up(acquired, streamed.size());
    bool keep = next < issued;
    for (std::uint64_t turn = next; turn < issued; turn++) keep = keep && region(turn).stage != Stage::failed;
    if (keep) {
      for (std::uint64_t turn = first; turn < next; turn++) region(turn).stage = Stage::released;
      acquired = next;
      free_released();
    } else {
      first = acquired = issued = 0;
      ring = ByteRing(ring_memory.size());
    }
    paused = was_paused;
    issue();
  }

  static constexpr std::size_t kRegionsAhead = 256;  // beside what is held

  const std::shared_ptr<File> file;
  const LeafIndex& index;
  const PagerOptions options;
  std::vector<std::size_t> resident_offset;  // in the arena; kNowhere for streamed chunks
  std::vector<std::uint32_t> residents, streamed;
  PageBuffer arena, ring_memory, staging;
  MemoryAccount::Entry arena_entry, ring_entry, staging_entry;
  std::size_t staging_slot = 0;

  mutable std::mutex mutex;
  std::condition_variable changed;   // acquire and reset wait here
  std::condition_variable arrivals;  // the checker waits here
  ByteRing ring;
  std::vector<Region> regions;
  std::vector<std::uint64_t> to_check;
  std::vector<std::size_t> free_staging;
  std::uint64_t first = 0, acquired = 0, issued = 0;  // turns
  std::size_t in_flight = 0;
  std::size_t unsettled = 0;                             // regions that are neither ready nor failed nor released
  bool asking = false;                                   // the youngest region has pieces that no read was begun for
  bool stopping = false, paused = true, loaded = false;  // paused: no region is begun
  Clock::time_point busy_since;
  PagerStats stats;

  std::unique_ptr<ReadQueue> queue;
  std::vector<std::jthread> checkers;
};

Pager::Pager(std::shared_ptr<File> file, const LeafIndex& index, const Plan& plan, std::vector<std::uint32_t> order, MemoryAccount& account,
             const PagerOptions& options)
    : state_(std::make_unique<State>(std::move(file), index, plan, std::move(order), account, options)) {}

Pager::~Pager() = default;

void Pager::load_residents(const std::function<void(std::uint64_t, std::uint64_t)>& progress, std::stop_token stop) {
  State& s = *state_;
  const auto start = Clock::now();
  {
    const std::lock_guard lock(s.mutex);
    if (s.loaded) throw std::logic_error("residents are loaded once, at the beginning");
  }
  std::vector<ResidentChunk> residents;
  std::uint64_t read = 0;
  for (const std::uint32_t c : s.residents) {
    residents.push_back({c, s.arena.bytes().subspan(s.resident_offset[c], slot_bytes(s.index.chunks[c]))});
    read += stored_pages(s.index.chunks[c]);
  }
  const TraceSpan span(s.options.trace, TraceKind::load, 0, read);
  load_chunks(*s.file, s.index, residents, s.staging.bytes(), s.staging_slot, progress, stop);
  if (s.streamed.empty()) {
    s.staging_entry = {};
    s.staging = {};
  }
  const std::lock_guard lock(s.mutex);
  s.loaded = true;
  s.stats.load_seconds = seconds_between(start, Clock::now());
  s.stats.read_bytes += read;
  s.stats.huge_pages = huge_pages_back(s.arena.size() + s.ring_memory.size());
  if (!s.streamed.empty()) {
    s.paused = false;
    s.issue();
  }
}

std::span<const std::byte> Pager::acquire(std::size_t chunk) {
  State& s = *state_;
  const std::uint32_t raw_bytes = s.index.chunks[chunk].raw_bytes;
  if (s.resident_offset[chunk] != kNowhere) return s.arena.bytes().subspan(s.resident_offset[chunk], raw_bytes);
  std::unique_lock lock(s.mutex);
  const std::uint64_t turn = s.acquired;
  if (s.streamed.empty() || s.chunk_of(turn) != chunk) throw std::logic_error("chunks must be acquired in the order of use");
  State::Region& r = s.region(turn);
  const auto settled = [&] { return turn < s.issued && (r.stage == State::Stage::ready || r.stage == State::Stage::failed); };
  // Nothing under way and nothing begun: what is held leaves no room, and only this thread could give it back.
  const auto stuck = [&] { return turn >= s.issued && s.unsettled == 0; };
  if (!settled()) {
    const auto start = Clock::now();
    const TraceKind cause = turn >= s.issued                   ? TraceKind::wait_room
                            : r.stage == State::Stage::reading ? TraceKind::wait_read
                                                               : TraceKind::wait_check;
    const TraceSpan span(s.options.trace, cause, static_cast<std::uint32_t>(chunk));
    s.changed.wait(lock, [&] { return settled() || stuck(); });
    s.stats.wait_seconds += seconds_between(start, Clock::now());
    if (stuck()) throw std::logic_error("no room in the ring for the next chunk: too much is held, or nothing was loaded");
  }
  if (r.stage == State::Stage::failed) std::rethrow_exception(r.failure);
  s.acquired++;
  s.stats.streamed_chunks++;
  return s.ring_memory.bytes().subspan(r.offset, raw_bytes);
}

bool Pager::is_resident(std::size_t chunk) const { return state_->resident_offset[chunk] != kNowhere; }

void Pager::release(std::size_t chunk) {
  State& s = *state_;
  if (s.resident_offset[chunk] != kNowhere) return;
  const std::lock_guard lock(s.mutex);
  for (std::uint64_t turn = s.first; turn < s.acquired; turn++) {
    State::Region& r = s.region(turn);
    if (r.chunk == chunk && r.stage == State::Stage::ready) {
      r.stage = State::Stage::released;
      s.free_released();
      return;
    }
  }
}

void Pager::reset() {
  State& s = *state_;
  if (s.streamed.empty()) return;
  std::unique_lock lock(s.mutex);
  s.start_over(lock);
}

PagerStats Pager::stats() const {
  const State& s = *state_;
  const std::lock_guard lock(s.mutex);
  PagerStats stats = s.stats;
  if (s.in_flight > 0) stats.disk_busy_seconds += seconds_between(s.busy_since, Clock::now());
  stats.backend = s.queue ? s.queue->name() : "threads";
  stats.direct = s.file->direct();
  return stats;
}

}  // namespace leafcutter::offload
