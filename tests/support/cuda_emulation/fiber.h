// A stack of its own that is switched to and from by hand, within one thread of the host. Never to be resumed by another thread: compilers keep addresses of thread_local variables.
#pragma once

#include <cstddef>

namespace leafcutter::gpu::emulation {

class Fiber {
 public:
  Fiber() = default;                // the stack that is running
  explicit Fiber(void (*entry)());  // entry begins at the first switch to it, and never returns
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  void restart();  // from the entry again; what lay on the stack is forgotten

  // Goes on with `to`; comes back when somebody switches to `from`. Called while an Unseen lives.
  static void change(Fiber& from, Fiber& to);

  void adopt_current_stack();  // of a Fiber() only; before each first change away from it

 private:
  friend void begin_fiber();
  void* stack_pointer_ = nullptr;
  char* memory_ = nullptr;  // a guard page, then the stack
  const void* bottom_ = nullptr;
  std::size_t bytes_ = 0;
  void (*entry_)() = nullptr;
  [[maybe_unused]] void* fake_stack_ = nullptr;  // AddressSanitizer's
  [[maybe_unused]] void* context_ = nullptr;     // ThreadSanitizer's
};

}  // namespace leafcutter::gpu::emulation
