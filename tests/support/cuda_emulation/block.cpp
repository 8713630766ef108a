#include "tests/support/cuda_emulation/block.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <stdexcept>

#include "kernels/cuda/launch_shape.h"
#include "tests/support/cuda_emulation/sanitizer_hooks.h"

namespace leafcutter::gpu::emulation {
namespace {

const char* name_of(Meeting meeting) {
  switch (meeting) {
    case Meeting::sync_warp:
      return "sync_warp";
    case Meeting::shuffle_xor:
      return "shuffle_xor";
    case Meeting::shuffle:
      return "shuffle";
    case Meeting::any:
      return "any";
  }
  return "?";
}

std::string text(const Place& place) {
  const std::string_view file = place.file_name();
  return std::string(file.substr(file.rfind('/') + 1)) + ":" + std::to_string(place.line());
}

bool same(const Place& a, const Place& b) {
  return a.line() == b.line() && a.column() == b.column() && std::strcmp(a.file_name(), b.file_name()) == 0;
}

}  // namespace

BlockRunner& BlockRunner::of_this_host_thread() {
  static thread_local BlockRunner runner;
  return runner;
}

void BlockRunner::begin_launch(const Registration& kernel, const void* arguments, std::uint32_t threads, std::uint32_t shared_bytes,
                               const Options& options) {
  kernel_ = &kernel;
  arguments_ = arguments;
  options_ = options;
  random_.seed(options.seed);
  threads_ = threads;
  fiber_of_.assign(threads, nullptr);
  ready_.resize(threads);
  warps_.assign(threads / kLanes, {});
  arrays_.clear();
  dynamic_bytes_ = shared_bytes;
  dynamic_.reset();
  static_bytes_ = 0;
  // No allocation by fibers that could be seen as shared among them.
  idle_.reserve(threads);
  spent_.reserve(threads);
  caller_.adopt_current_stack();
  if (kThreadSanitizer)
    while (fibers_.size() < threads) idle_.push_back(fibers_.emplace_back(std::make_unique<Fiber>(&thread_main)).get());
}

void BlockRunner::end_launch() {
  observe(finished_);
  arrays_.clear();
  dynamic_.reset();
}

void BlockRunner::run(const std::uint32_t block[3]) {
  const Unseen unseen;
  std::copy(block, block + 3, position.block);
  std::fill(fiber_of_.begin(), fiber_of_.end(), nullptr);
  for (Warp& warp : warps_) warp.arrived = 0;
  done_ = at_barrier_ = 0;
  error_.clear();
  ready_first_ = ready_count_ = 0;
  make_ready(0, threads_);

  if (kThreadSanitizer) {  // memory of its own for each block: nothing orders blocks, and they would seem to race on what is reused
    arrays_.clear();
    dynamic_.reset();
    idle_.insert(idle_.end(), spent_.begin(), spent_.end());
    spent_.clear();
    std::shuffle(idle_.begin(), idle_.end(), random_);  // thread i of one block and of the next are not one thread
  }
  for (SharedArray& array : arrays_) array.used = false;
  static_bytes_ = 0;
  if (dynamic_bytes_ > 0) {
    if (dynamic_)
      poison(dynamic_.get(), dynamic_bytes_);
    else
      dynamic_ = poisoned_memory(dynamic_bytes_, 16);
  }

  publish(launched_);
  const unsigned first = next();
  current_ = first;
  position.thread = first;
  Fiber* fiber = fiber_of_[first] = take_fiber();
  Fiber::change(caller_, *fiber);
  if (!error_.empty()) {
    idle_.clear();
    spent_.clear();
    for (auto& abandoned : fibers_) abandoned->restart(), idle_.push_back(abandoned.get());
    throw std::runtime_error(error_);
  }
}

void BlockRunner::thread_main() {
  BlockRunner& runner = of_this_host_thread();
  for (;;) {
    observe(runner.launched_);
    runner.kernel_->run(runner.arguments_);
    publish(runner.finished_);

    const Unseen unseen;
    Fiber* self = runner.fiber_of_[runner.current_];
    runner.fiber_of_[runner.current_] = nullptr;
    runner.done_++;
    const unsigned thread = runner.next();
    if (thread == kNobody) {
      (kThreadSanitizer ? runner.spent_ : runner.idle_).push_back(self);
      Fiber::change(*self, runner.caller_);
    } else if (!kThreadSanitizer && !runner.fiber_of_[thread]) {  // one that has not begun goes on here
      runner.fiber_of_[thread] = self;
      runner.current_ = thread;
      position.thread = thread;
    } else {
      (kThreadSanitizer ? runner.spent_ : runner.idle_).push_back(self);
      runner.current_ = thread;
      position.thread = thread;
      if (!runner.fiber_of_[thread]) runner.fiber_of_[thread] = runner.take_fiber();
      Fiber::change(*self, *runner.fiber_of_[thread]);
    }
  }
}

Fiber* BlockRunner::take_fiber() {
  if (idle_.empty()) idle_.push_back(fibers_.emplace_back(std::make_unique<Fiber>(&thread_main)).get());
  Fiber* fiber = idle_.back();
  idle_.pop_back();
  return fiber;
}

void BlockRunner::make_ready(unsigned begin, unsigned end) {
  for (unsigned i = begin; i < end; i++) {
    const unsigned thread = options_.order == ThreadOrder::reverse ? begin + (end - 1 - i) : i;
    ready_[(ready_first_ + ready_count_++) % threads_] = thread;
  }
}

// Who runs now; kNobody when nobody can, which is an error unless all are done.
unsigned BlockRunner::next() {
  if (ready_count_ == 0) {
    if (done_ < threads_) error_ = why_nobody_runs();
    return kNobody;
  }
  if (options_.order == ThreadOrder::random) std::swap(ready_[ready_first_], ready_[(ready_first_ + random_() % ready_count_) % threads_]);
  const unsigned thread = ready_[ready_first_];
  ready_first_ = (ready_first_ + 1) % threads_;
  ready_count_--;
  return thread;
}

void BlockRunner::wait() {
  const unsigned self = current_, thread = next();
  if (thread == kNobody) leave();
  if (thread == self) return;
  if (!fiber_of_[thread]) fiber_of_[thread] = take_fiber();
  current_ = thread;
  position.thread = thread;
  Fiber::change(*fiber_of_[self], *fiber_of_[thread]);
}

void BlockRunner::leave() {
  publish(finished_);
  Fiber::change(*fiber_of_[current_], caller_);
  __builtin_unreachable();
}

std::string BlockRunner::where() const {
  const auto& b = position.block;
  return std::string(kernel_->name) + ", block (" + std::to_string(b[0]) + ", " + std::to_string(b[1]) + ", " + std::to_string(b[2]) + ")";
}

void BlockRunner::blame(const std::string& what) { error_ = where() + ", thread " + std::to_string(current_) + ": " + what; }

std::string BlockRunner::why_nobody_runs() const {
  std::string why = where() + ": not all threads get to where others wait:";
  if (at_barrier_ > 0) why += " " + std::to_string(at_barrier_) + " in sync_block at " + text(barrier_place_) + ",";
  for (std::size_t w = 0; w < warps_.size(); w++)
    if (warps_[w].arrived)
      why += " " + std::to_string(__builtin_popcount(warps_[w].arrived)) + " of warp " + std::to_string(w) + " in " +
             name_of(warps_[w].meeting) + " at " + text(warps_[w].place) + ",";
  return why + " " + std::to_string(done_) + " of " + std::to_string(threads_) + " have returned";
}

void BlockRunner::sync_block(const Place& place) {
  const Unseen unseen;
  if (at_barrier_ == 0) barrier_place_ = place;
  if (!same(place, barrier_place_)) {
    blame("in sync_block at " + text(place) + " while others wait in that at " + text(barrier_place_));
    leave();
  }
  publish(barrier_order_);
  if (++at_barrier_ == threads_) {
    at_barrier_ = 0;
    make_ready(0, threads_);
  }
  wait();
  observe(barrier_order_);
}

std::uint32_t BlockRunner::meet(Meeting meeting, std::uint32_t value, std::uint32_t argument, const Place& place) {
  const Unseen unseen;
  const unsigned lane = current_ % kLanes, index = current_ / kLanes;
  Warp& warp = warps_[index];
  if (warp.arrived == 0) {
    warp.meeting = meeting;
    warp.place = place;
  } else if (warp.meeting != meeting || !same(warp.place, place)) {
    blame(std::string("in ") + name_of(meeting) + " at " + text(place) + " while other lanes of warp " + std::to_string(index) +
          " wait in " + name_of(warp.meeting) + " at " + text(warp.place));
    leave();
  }
  if (meeting == Meeting::sync_warp) publish(warp.order);
  warp.values[lane] = value;
  warp.arguments[lane] = argument;
  warp.arrived |= 1u << lane;
  if (warp.arrived == ~0u) {
    complete(warp);
    if (!error_.empty()) leave();
    make_ready(index * kLanes, (index + 1) * kLanes);
  }
  wait();
  if (meeting == Meeting::sync_warp) observe(warp.order);
  return warp.results[lane];
}

void BlockRunner::complete(Warp& warp) {
  const bool some = std::any_of(warp.values.begin(), warp.values.end(), [](std::uint32_t v) { return v != 0; });
  for (unsigned lane = 0; lane < kLanes; lane++) {
    if (warp.arguments[lane] >= kLanes)
      blame(std::string(name_of(warp.meeting)) + " with lane or mask " + std::to_string(warp.arguments[lane]) + " at " + text(warp.place));
    switch (warp.meeting) {
      case Meeting::sync_warp:
        break;
      case Meeting::any:
        warp.results[lane] = some;
        break;
      case Meeting::shuffle_xor:
        warp.results[lane] = warp.values[(lane ^ warp.arguments[lane]) % kLanes];
        break;
      case Meeting::shuffle:
        warp.results[lane] = warp.values[warp.arguments[lane] % kLanes];
        break;
    }
  }
  warp.arrived = 0;
}

void BlockRunner::poison(void* memory, std::size_t bytes) { std::memset(memory, 0xff, bytes); }

BlockRunner::Memory BlockRunner::poisoned_memory(std::size_t bytes, std::size_t alignment) {
  void* memory = nullptr;
  if (posix_memalign(&memory, std::max(alignment, sizeof(void*)), bytes) != 0)
    throw std::bad_alloc();  // exactly so long, for AddressSanitizer
  poison(memory, bytes);
  return Memory(memory);
}

void* BlockRunner::shared_array(const void* site, std::size_t bytes, std::size_t alignment) {
  const Unseen unseen;
  auto array = std::find_if(arrays_.begin(), arrays_.end(), [&](const SharedArray& a) { return a.site == site; });
  if (array == arrays_.end()) {
    arrays_.push_back({site, bytes, poisoned_memory(bytes, std::max<std::size_t>(alignment, 16)), false});
    array = arrays_.end() - 1;
  } else if (!array->used) {
    poison(array->memory.get(), bytes);
  }
  if (!array->used) {
    array->used = true;
    static_bytes_ += bytes;
    if (static_bytes_ + dynamic_bytes_ > kMostSharedBytes) {
      blame("takes " + std::to_string(static_bytes_ + dynamic_bytes_) + " bytes of shared memory, a block has " +
            std::to_string(kMostSharedBytes));
      leave();
    }
  }
  return array->memory.get();
}

void* BlockRunner::dynamic_shared() {
  const Unseen unseen;
  if (!dynamic_) {
    blame("uses dynamic shared memory, but the launch gives none");
    leave();
  }
  return dynamic_.get();
}

std::uint32_t meet(Meeting meeting, std::uint32_t value, std::uint32_t argument, const Place& place) {
  return BlockRunner::of_this_host_thread().meet(meeting, value, argument, place);
}

void sync_block(const Place& place) { BlockRunner::of_this_host_thread().sync_block(place); }

void* shared_array(const void* site, std::size_t bytes, std::size_t alignment) {
  return BlockRunner::of_this_host_thread().shared_array(site, bytes, alignment);
}

void* dynamic_shared() { return BlockRunner::of_this_host_thread().dynamic_shared(); }

void check_aligned(const void* p, std::size_t alignment, const Place& place) {
  if (reinterpret_cast<std::uintptr_t>(p) % alignment == 0) return;
  const Unseen unseen;
  BlockRunner& runner = BlockRunner::of_this_host_thread();
  runner.blame("a load of " + std::to_string(alignment) + " bytes that is not aligned, at " + text(place));
  runner.leave();
}

}  // namespace leafcutter::gpu::emulation
