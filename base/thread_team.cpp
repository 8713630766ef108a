#include "base/thread_team.h"

#include <immintrin.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace leafcutter {
namespace {

using Clock = std::chrono::steady_clock;

// Between the products of one step a thread waits about ten microseconds; waking a sleeping one costs as much again. So: look for this long, then sleep.
constexpr auto kSpin = std::chrono::microseconds(30);

// Waits until value differs from old; spins, then sleeps.
std::uint64_t wait_for_change(std::atomic<std::uint64_t>& value, std::uint64_t old) {
  const auto give_up = Clock::now() + kSpin;
  for (;;) {
    for (int i = 0; i < 64; i++) {
      if (const std::uint64_t now = value.load(std::memory_order_acquire); now != old) return now;
      _mm_pause();
    }
    if (Clock::now() >= give_up) break;
  }
  value.wait(old, std::memory_order_acquire);
  return value.load(std::memory_order_acquire);
}

}  // namespace

// One 64-bit word holds the job's number and the next piece, so that a thread that wakes late can never take a piece of a job that is over.
struct ThreadTeam::State {
  explicit State(std::size_t count) : busy_nanoseconds(count) {}

  std::atomic<std::uint64_t> job{0};       // raised to start a job
  std::atomic<std::uint64_t> ticket{0};    // job << 32 | next piece
  std::atomic<std::uint64_t> finished{0};  // pieces of this job that have ended
  std::atomic<bool> stopping{false};

  Call call = nullptr;
  void* context = nullptr;
  std::atomic<std::uint64_t> pieces{0};

  std::mutex failure_mutex;
  std::exception_ptr failure;
  std::atomic<bool> failed{false};

  std::vector<std::atomic<std::uint64_t>> busy_nanoseconds;
  std::vector<std::thread> threads;

  void work(std::uint64_t number, std::size_t thread) {
    const std::uint64_t tag = number << 32;
    std::uint64_t done = 0;
    Clock::time_point start{};
    for (;;) {
      std::uint64_t seen = ticket.load(std::memory_order_acquire);
      std::uint64_t piece;
      do {
        if ((seen & ~std::uint64_t{0xffffffff}) != tag) {
          piece = ~std::uint64_t{0};
          break;
        }
        piece = seen & 0xffffffff;
        if (piece >= pieces.load(std::memory_order_relaxed)) {
          piece = ~std::uint64_t{0};
          break;
        }
      } while (!ticket.compare_exchange_weak(seen, seen + 1, std::memory_order_acq_rel));
      if (piece == ~std::uint64_t{0}) break;
      if (done++ == 0) start = Clock::now();
      if (!failed.load(std::memory_order_relaxed)) {
        try {
          call(context, static_cast<std::size_t>(piece), thread);
        } catch (...) {
          const std::lock_guard lock(failure_mutex);
          if (!failure) failure = std::current_exception();
          failed = true;
        }
      }
      if (finished.fetch_add(1, std::memory_order_acq_rel) + 1 == pieces.load(std::memory_order_relaxed)) finished.notify_all();
    }
    if (done > 0) {
      const auto spent = std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start).count();
      busy_nanoseconds[thread].fetch_add(static_cast<std::uint64_t>(spent), std::memory_order_relaxed);
    }
  }

  void serve(std::size_t thread) {
    std::uint64_t seen = 0;
    for (;;) {
      seen = wait_for_change(job, seen);
      if (stopping) return;
      work(seen, thread);
    }
  }
};

ThreadTeam::ThreadTeam(std::size_t threads) : state_(std::make_unique<State>(threads)) {
  for (std::size_t t = 1; t < threads; t++) state_->threads.emplace_back([state = state_.get(), t] { state->serve(t); });
}

ThreadTeam::~ThreadTeam() {
  state_->stopping = true;
  state_->job.fetch_add(1);
  state_->job.notify_all();
  for (std::thread& thread : state_->threads) thread.join();
}

std::size_t ThreadTeam::size() const { return state_->threads.size() + 1; }

double ThreadTeam::busy_seconds() const {
  std::uint64_t sum = 0;
  for (const auto& nanoseconds : state_->busy_nanoseconds) sum += nanoseconds.load(std::memory_order_relaxed);
  return static_cast<double>(sum) * 1e-9;
}

void ThreadTeam::run_erased(std::size_t pieces, Call call, void* context) {
  if (pieces == 0) return;
  State& s = *state_;
  const std::uint64_t number = (s.job.load(std::memory_order_relaxed) + 1) & 0xffffffff;
  // First no piece is to be had: a thread that is late from the job before must not take the new count for the old one's.
  s.ticket.store(number << 32 | 0xffffffff);
  s.call = call;
  s.context = context;
  s.finished.store(0);
  s.pieces.store(pieces);
  s.ticket.store(number << 32, std::memory_order_release);
  if (pieces > 1 && !s.threads.empty()) {
    s.job.store(number, std::memory_order_release);
    s.job.notify_all();
  } else {
    s.job.store(number, std::memory_order_release);  // alone: nobody needs to wake
  }
  s.work(number, 0);
  for (std::uint64_t done; (done = s.finished.load(std::memory_order_acquire)) < pieces;) wait_for_change(s.finished, done);
  if (s.failed) {
    std::exception_ptr failure;
    std::swap(failure, s.failure);
    s.failed = false;
    std::rethrow_exception(failure);
  }
}

}  // namespace leafcutter
