#include "offload/pager.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <fstream>
#include <iterator>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "base/checked.h"
#include "base/error.h"
#include "base/page_buffer.h"
#include "compress/leaf_reader.h"
#include "offload/chunk_sizes.h"
#include "offload/read_ahead.h"
#include "offload/read_queue.h"
#include "offload/resident_loader.h"
#include "offload/system_text.h"
#include "offload/trace.h"

namespace leafcutter::offload {
namespace {

using Clock = std::chrono::steady_clock;
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

// Does the kernel back at least half of `bytes` of this process with huge pages? Some containers refuse them, and direct reads then run at half the rate.
bool huge_pages_back(std::uint64_t bytes) {
  std::ifstream in("/proc/self/smaps_rollup");
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  return bytes > 0 && number_of(text, "AnonHugePages").value_or(0) >= bytes / 2;
}

}  // namespace

// Whoever changes something that could let a read begin (a region given back, a staging slot freed, a read ended) calls issue() before it lets the mutex go. So there is no thread that only
// decides, and nothing to wake for it: reads begin where the reason for them arises.
struct Pager::State {
  using Stage = ReadAhead::Stage;

  State(std::shared_ptr<File> the_file, const LeafIndex& the_index, const Plan& plan, std::vector<std::uint32_t> order,
        MemoryAccount& account, const PagerOptions& the_options)
      : file(std::move(the_file)),
        index(the_index),
        options(the_options),
        resident_offset(index.chunks.size(), kNowhere),
        position(index.chunks.size(), kNowhere) {
    std::size_t arena_bytes = 0;
    const auto keep = [&](std::uint32_t c) {
      resident_offset[c] = arena_bytes;
      arena_bytes += slot_bytes(index.chunks[c]);
      residents.push_back(c);
    };
    for (const std::uint32_t c : order) {
      if (plan.resident.at(c)) {
        keep(c);
      } else {
        position[c] = streamed.size();
        streamed.push_back(c);
      }
      if (index.chunks[c].codec != Codec::none) staging_slot = std::max(staging_slot, stored_pages(index.chunks[c]));
    }
    for (std::uint32_t c = 0; c < plan.resident.size(); c++)  // those that no step visits: a table whose rows are looked up
      if (plan.resident[c] && resident_offset[c] == kNowhere) keep(c);
    arena = PageBuffer(arena_bytes, "resident weights", false);
    if (arena_bytes > 0) arena_entry = account.add("resident weights", Tier::host, arena_bytes);
    if (staging_slot > 0) {
      staging = PageBuffer(kStagingSlots * staging_slot, "staging of coded chunks");
      staging_entry = account.add("staging of coded chunks", Tier::host, staging.size());
    }
    if (streamed.empty()) return;
    ring_memory = PageBuffer(static_cast<std::size_t>(plan.ring_bytes), "ring of streamed chunks");
    ring_entry = account.add("ring of streamed chunks", Tier::host, plan.ring_bytes);
    std::vector<ReadAhead::Chunk> chunks;
    chunks.reserve(streamed.size());
    for (const std::uint32_t c : streamed)
      chunks.push_back({slot_bytes(index.chunks[c]), stored_pages(index.chunks[c]), index.chunks[c].codec != Codec::none});
    ahead.emplace(std::move(chunks), ring_memory.size(), staging_slot > 0 ? kStagingSlots : 0, most_streamed_of_a_module(index, plan),
                  options.reads);
    if (options.trace) asked_ns.resize(ahead->most_turns());
    const ReadDone done = [this](std::uint64_t turn, std::exception_ptr failure) { arrived(turn, failure); };
    const std::size_t depth = std::max<std::size_t>(1, options.reads.in_flight);
    if (options.backend != ReadBackend::threads && (file->descriptor() >= 0 || options.backend == ReadBackend::io_uring)) {
      try {
        queue = make_uring_read_queue(file, ring_memory.bytes(), depth, done);
      } catch (const Error&) {
        if (options.backend == ReadBackend::io_uring) throw;
      }
    }
    if (!queue) queue = make_thread_read_queue(file, std::max<std::size_t>(1, std::min(options.read_threads, depth)), depth, done);
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

  std::uint32_t chunk_of(std::uint64_t turn) const { return streamed[ahead->position(turn)]; }

  void issue() {
    if (stopping) return;
    while (const auto piece = ahead->begin_read()) {
      if (options.trace && piece->begin == 0) asked_ns[piece->turn % asked_ns.size()] = options.trace->now_ns();
      if (ahead->reads_in_flight() == 1) busy_since = Clock::now();
      stats.read_bytes += piece->bytes;
      queue->submit({index.chunks[chunk_of(piece->turn)].file_offset + piece->begin,
                     stored_of(piece->turn).subspan(piece->begin, piece->bytes), piece->turn});
    }
  }

  // Where a turn's chunk is read to.
  std::span<std::byte> stored_of(std::uint64_t turn) const {
    const std::size_t bytes = stored_pages(index.chunks[chunk_of(turn)]), slot = ahead->staging_slot(turn);
    return slot == ReadAhead::kNoSlot ? ring_memory.bytes().subspan(ahead->ring_offset(turn), bytes)
                                      : staging.bytes().subspan(slot * staging_slot, bytes);
  }

  void arrived(std::uint64_t turn, const std::exception_ptr& failure) {
    bool failed = false, whole = false;
    {
      const std::lock_guard lock(mutex);
      const std::uint32_t chunk = chunk_of(turn);
      const bool settled = ahead->end_read(turn, failure ? named(chunk, failure) : nullptr);
      if (ahead->reads_in_flight() == 0) stats.disk_busy_seconds += seconds_between(busy_since, Clock::now());
      if (settled) {
        failed = ahead->stage(turn) == Stage::failed;
        whole = !failed;
        if (options.trace) options.trace->add(TraceKind::read, asked_ns[turn % asked_ns.size()], chunk, stored_pages(index.chunks[chunk]));
      }
      issue();
    }
    if (failed) changed.notify_one();
    if (whole) arrivals.notify_one();
  }

  // A read's error says where in the file; people want to know which chunk of what.
  std::exception_ptr named(std::uint32_t chunk, const std::exception_ptr& failure) const {
    try {
      std::rethrow_exception(failure);
    } catch (const Error& e) {
      return std::make_exception_ptr(Error(e.kind(), compress::chunk_place(index, chunk), e.what()));
    } catch (...) { return failure; }
  }

  void check_loop() {
    std::unique_lock lock(mutex);
    for (;;) {
      arrivals.wait(lock, [this] { return stopping || ahead->can_check(); });
      if (stopping) return;
      const std::uint64_t turn = ahead->begin_check().value();
      const std::uint32_t c = chunk_of(turn);
      const std::span<std::byte> raw = ring_memory.bytes().subspan(ahead->ring_offset(turn), index.chunks[c].raw_bytes);
      const std::span<const std::byte> stored = stored_of(turn);
      lock.unlock();
      const auto start = Clock::now();
      std::exception_ptr failure;
      try {
        const TraceSpan span(options.trace, TraceKind::check, c, raw.size());
        compress::decode_chunk(index, c, stored, raw, file->name());
      } catch (...) { failure = std::current_exception(); }
      const double spent = seconds_between(start, Clock::now());
      lock.lock();
      stats.check_seconds += spent;
      ahead->end_check(turn, failure);
      issue();
      changed.notify_one();  // acquire and reset are called from one thread
    }
  }

  const std::shared_ptr<File> file;
  const LeafIndex& index;
  const PagerOptions options;
  std::vector<std::size_t> resident_offset;  // in the arena; kNowhere for streamed chunks
  std::vector<std::size_t> position;         // among the streamed chunks
  std::vector<std::uint32_t> residents, streamed;
  PageBuffer arena, ring_memory, staging;
  MemoryAccount::Entry arena_entry, ring_entry, staging_entry;
  std::size_t staging_slot = 0;

  mutable std::mutex mutex;
  std::condition_variable changed;      // acquire and reset wait here
  std::condition_variable arrivals;     // the checker waits here
  std::optional<ReadAhead> ahead;       // none when nothing is streamed
  std::vector<std::uint64_t> asked_ns;  // of the trace, by turn
  bool stopping = false, loaded = false;
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
    s.ahead->resume();
    s.issue();
  }
}

std::span<const std::byte> Pager::acquire(std::size_t chunk) {
  State& s = *state_;
  const std::uint32_t raw_bytes = s.index.chunks[chunk].raw_bytes;
  if (s.resident_offset[chunk] != kNowhere) return s.arena.bytes().subspan(s.resident_offset[chunk], raw_bytes);
  std::unique_lock lock(s.mutex);
  if (s.streamed.empty() || s.chunk_of(s.ahead->next()) != chunk) throw std::logic_error("chunks must be acquired in the order of use");
  ReadAhead& ahead = *s.ahead;
  const std::uint64_t turn = ahead.next();
  const auto settled = [&] {
    return ahead.begun(turn) && (ahead.stage(turn) == State::Stage::ready || ahead.stage(turn) == State::Stage::failed);
  };
  if (!settled()) {
    const auto start = Clock::now();
    const TraceKind cause = !ahead.begun(turn)                           ? TraceKind::wait_room
                            : ahead.stage(turn) == State::Stage::reading ? TraceKind::wait_read
                                                                         : TraceKind::wait_check;
    const TraceSpan span(s.options.trace, cause, static_cast<std::uint32_t>(chunk));
    s.changed.wait(lock, [&] { return settled() || ahead.stuck(); });
    s.stats.wait_seconds += seconds_between(start, Clock::now());
    if (ahead.stuck()) throw std::logic_error("no room in the ring for the next chunk: too much is held, or nothing was loaded");
  }
  if (ahead.stage(turn) == State::Stage::failed) std::rethrow_exception(ahead.failure(turn));
  ahead.acquire();
  s.stats.streamed_chunks++;
  return s.ring_memory.bytes().subspan(ahead.ring_offset(turn), raw_bytes);
}

bool Pager::is_resident(std::size_t chunk) const { return state_->resident_offset[chunk] != kNowhere; }

bool Pager::is_ready(std::size_t chunk) const {
  const State& s = *state_;
  if (s.resident_offset[chunk] != kNowhere) return true;
  const std::lock_guard lock(s.mutex);
  const std::uint64_t turn = s.ahead->next();
  return s.chunk_of(turn) == chunk && s.ahead->begun(turn) &&
         (s.ahead->stage(turn) == State::Stage::ready || s.ahead->stage(turn) == State::Stage::failed);
}

std::vector<std::span<std::byte>> Pager::memory() const {
  std::vector<std::span<std::byte>> parts;
  for (const PageBuffer* buffer : {&state_->arena, &state_->ring_memory})
    if (buffer->size() > 0) parts.push_back(buffer->bytes());
  return parts;
}

void Pager::release(std::size_t chunk) {
  State& s = *state_;
  if (s.resident_offset[chunk] != kNowhere) return;
  const std::lock_guard lock(s.mutex);
  s.ahead->release(s.position[chunk]);
  s.issue();
}

void Pager::reset() {
  State& s = *state_;
  if (s.streamed.empty()) return;
  std::unique_lock lock(s.mutex);
  const bool was_paused = s.ahead->paused();
  s.ahead->pause();
  s.changed.wait(lock, [&] { return s.ahead->settled(); });
  s.ahead->start_over();
  if (!was_paused) s.ahead->resume();
  s.issue();
}

PagerStats Pager::stats() const {
  const State& s = *state_;
  const std::lock_guard lock(s.mutex);
  PagerStats stats = s.stats;
  if (s.ahead && s.ahead->reads_in_flight() > 0) stats.disk_busy_seconds += seconds_between(s.busy_since, Clock::now());
  stats.backend = s.queue ? s.queue->name() : "threads";
  stats.direct = s.file->direct();
  return stats;
}

}  // namespace leafcutter::offload
