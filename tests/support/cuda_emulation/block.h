// One block of threads at a time: who runs next, who waits for whom. Each thread is a fiber; a fiber is only taken when a thread has to wait, so that kernels in which nobody waits are plain loops.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/cuda/port_emulation.h"
#include "tests/support/cuda_emulation/emulator.h"
#include "tests/support/cuda_emulation/fiber.h"

namespace leafcutter::gpu::emulation {

class BlockRunner {
 public:
  static BlockRunner& of_this_host_thread();

  void begin_launch(const Registration& kernel, const void* arguments, std::uint32_t threads, std::uint32_t shared_bytes,
                    const Options& options);
  void run(const std::uint32_t block[3]);  // throws std::runtime_error
  void end_launch();

  // For the thread that runs; these are behind the functions of port_emulation.h.
  std::uint32_t meet(Meeting meeting, std::uint32_t value, std::uint32_t argument, const Place& place);
  void sync_block(const Place& place);
  void* shared_array(const void* site, std::size_t bytes, std::size_t alignment);
  void* dynamic_shared();
  // An error of the kernel: first blame(), then leave(), which ends the launch and destroys nothing that lies on the thread's stack.
  void blame(const std::string& what);
  [[noreturn]] void leave();

 private:
  static constexpr unsigned kLanes = 32;
  static constexpr unsigned kNobody = ~0u;

  struct Warp {
    std::uint32_t arrived = 0;  // a bit for each lane that waits in the meeting
    Meeting meeting{};
    Place place;
    std::array<std::uint32_t, kLanes> values{}, arguments{}, results{};
    char order = 0;  // mark of sync_warp
  };
  struct FreeMemory {
    void operator()(void* p) const { std::free(p); }
  };
  using Memory = std::unique_ptr<void, FreeMemory>;
  struct SharedArray {
    const void* site = nullptr;
    std::size_t bytes = 0;
    Memory memory;
    bool used = false;  // by the block that runs
  };

  [[noreturn]] static void thread_main();
  void wait();  // until another thread makes the current one ready
  unsigned next();
  void go_to(unsigned thread);
  void make_ready(unsigned begin, unsigned end);
  void complete(Warp& warp);
  std::string why_nobody_runs() const;
  Fiber* take_fiber();
  Memory poisoned_memory(std::size_t bytes, std::size_t alignment);
  void poison(void* memory, std::size_t bytes);
  std::string where() const;

  const Registration* kernel_ = nullptr;
  const void* arguments_ = nullptr;
  Options options_;
  std::mt19937 random_{1};
  unsigned threads_ = 0;

  std::vector<Fiber*> fiber_of_;  // of a thread; nullptr: not begun or done
  std::vector<unsigned> ready_;   // who can run: a ring in forward and reverse order, a bag in random order
  std::size_t ready_first_ = 0, ready_count_ = 0;
  std::vector<Warp> warps_;
  unsigned current_ = kNobody, done_ = 0, at_barrier_ = 0;
  Place barrier_place_;
  std::string error_;

  std::vector<SharedArray> arrays_;
  Memory dynamic_;
  std::size_t dynamic_bytes_ = 0, static_bytes_ = 0;

  Fiber caller_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> idle_, spent_;  // spent: not for another thread of this block (ThreadSanitizer)
  char launched_ = 0, finished_ = 0, barrier_order_ = 0;
};

}  // namespace leafcutter::gpu::emulation
