#include "tests/support/cuda_emulation/fiber.h"

#include <pthread.h>
#include <sys/mman.h>

#include <cstdint>
#include <new>

#include "tests/support/cuda_emulation/sanitizer_hooks.h"

#if !defined(__x86_64__)
#error "the emulator of CUDA kernels knows how to switch stacks on x86-64 only"
#endif

// Saves the registers that a function has to keep and the stack pointer, and takes those of the other stack.
asm(R"(
.text
.type leafcutter_change_stack, @function
leafcutter_change_stack:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
.size leafcutter_change_stack, . - leafcutter_change_stack
)");
extern "C" void leafcutter_change_stack(void** save, void* to) asm("leafcutter_change_stack");

namespace leafcutter::gpu::emulation {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kStack = 256 * 1024;  // a kernel compiled with sanitizers fits with room to spare
constexpr std::size_t kSavedRegisters = 6;

constinit thread_local Fiber* arrived = nullptr;

}  // namespace

__attribute__((no_sanitize_thread)) void begin_fiber() {
#if defined(LEAFCUTTER_ASAN)
  __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
  arrived->entry_();
  __builtin_unreachable();
}

Fiber::Fiber(void (*entry)()) : bytes_(kStack), entry_(entry) {
  void* memory = mmap(nullptr, kPage + kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  memory_ = static_cast<char*>(memory);
  mprotect(memory_, kPage, PROT_NONE);
  bottom_ = memory_ + kPage;
  restart();
}

Fiber::~Fiber() {
  if (!memory_) return;
#if defined(LEAFCUTTER_THREAD_SANITIZED)
  __tsan_destroy_fiber(context_);
#endif
  munmap(memory_, kPage + kStack);
}

void Fiber::restart() {
#if defined(LEAFCUTTER_ASAN)
  __asan_unpoison_memory_region(bottom_, bytes_);
#endif
#if defined(LEAFCUTTER_THREAD_SANITIZED)
  if (context_) __tsan_destroy_fiber(context_);
  context_ = __tsan_create_fiber(0);
#endif
  // As leafcutter_change_stack leaves it: registers, where to return to, and a frame that is aligned as after a call.
  void** top = reinterpret_cast<void**>(memory_ + kPage + bytes_ - 64);
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(&begin_fiber);
  for (std::size_t i = 0; i < kSavedRegisters; i++) *--top = nullptr;
  stack_pointer_ = top;
  fake_stack_ = nullptr;
}

void Fiber::adopt_current_stack() {
#if defined(LEAFCUTTER_ASAN)
  pthread_attr_t attributes;
  void* bottom = nullptr;
  pthread_getattr_np(pthread_self(), &attributes);
  pthread_attr_getstack(&attributes, &bottom, &bytes_);
  pthread_attr_destroy(&attributes);
  bottom_ = bottom;
#endif
#if defined(LEAFCUTTER_THREAD_SANITIZED)
  context_ = __tsan_get_current_fiber();
#endif
}

__attribute__((no_sanitize_thread)) void Fiber::change(Fiber& from, Fiber& to) {
  arrived = &to;
#if defined(LEAFCUTTER_ASAN)
  __sanitizer_start_switch_fiber(&from.fake_stack_, to.bottom_, to.bytes_);
#endif
#if defined(LEAFCUTTER_THREAD_SANITIZED)
  constexpr unsigned kWithoutOrder = 1;  // nothing that `from` did counts as done before what `to` does
  look_again();                          // a fiber may be destroyed where it waits, and must then look at everything
  __tsan_switch_to_fiber(to.context_, kWithoutOrder);
#endif
  leafcutter_change_stack(&from.stack_pointer_, to.stack_pointer_);
  look_away();
#if defined(LEAFCUTTER_ASAN)
  __sanitizer_finish_switch_fiber(from.fake_stack_, nullptr, nullptr);
#endif
}

}  // namespace leafcutter::gpu::emulation
