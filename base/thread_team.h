// A fixed group of threads that works through numbered pieces of one job at a time.
//
// Pieces are handed out dynamically, so that a thread whose core is taken by another process delays only the piece it holds. A waiting
// thread spins for some microseconds, then sleeps: a core may be shared.
#pragma once

#include <cstddef>
#include <memory>
#include <type_traits>

namespace leafcutter {

class ThreadTeam {
 public:
  // threads >= 1, the caller of run() included. Threads are started here and joined by the destructor.
  explicit ThreadTeam(std::size_t threads);
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  std::size_t size() const;

  // Calls work(piece, thread) for each piece 0..pieces-1, thread in 0..size()-1, and returns when all are done. One job at a time; call it from
  // one thread. The first exception that a piece throws is rethrown here after the other pieces have ended or been skipped.
  template <class Work>
  void run(std::size_t pieces, Work&& work) {
    using Callable = std::remove_reference_t<Work>;
    run_erased(
        pieces, [](void* context, std::size_t piece, std::size_t thread) { (*static_cast<Callable*>(context))(piece, thread); },
        const_cast<void*>(static_cast<const void*>(&work)));
  }

  // Seconds of work done by all threads together in run() since the team was made: how busy the cores were.
  double busy_seconds() const;

 private:
  using Call = void (*)(void* context, std::size_t piece, std::size_t thread);
  void run_erased(std::size_t pieces, Call call, void* context);
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace leafcutter
