// What the sanitizers must be told about stacks that are switched by hand. Without a sanitizer all of it is empty.
#pragma once

#include <cstddef>

#include "tests/support/sanitized.h"

#if defined(__SANITIZE_ADDRESS__)
#define LEAFCUTTER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LEAFCUTTER_ASAN 1
#endif
#endif

#if defined(LEAFCUTTER_ASAN)
extern "C" {
void __sanitizer_start_switch_fiber(void** fake_stack, const void* bottom, std::size_t size);
void __sanitizer_finish_switch_fiber(void* fake_stack, const void** bottom, std::size_t* size);
void __asan_unpoison_memory_region(const volatile void* begin, std::size_t size);
}
#endif
#if defined(LEAFCUTTER_THREAD_SANITIZED)
extern "C" {
void* __tsan_get_current_fiber();
void* __tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void* fiber);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
void __tsan_acquire(void* address);
void __tsan_release(void* address);
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}
#endif

namespace leafcutter::gpu::emulation {

#if defined(LEAFCUTTER_THREAD_SANITIZED)
constexpr bool kThreadSanitizer = true;

inline void look_away() { AnnotateIgnoreReadsBegin(__FILE__, __LINE__), AnnotateIgnoreWritesBegin(__FILE__, __LINE__); }
inline void look_again() { AnnotateIgnoreWritesEnd(__FILE__, __LINE__), AnnotateIgnoreReadsEnd(__FILE__, __LINE__); }

// All that was done before a publish() of a mark is ordered before what follows an observe() of it.
inline void publish(char& mark) { __tsan_release(&mark); }
inline void observe(char& mark) { __tsan_acquire(&mark); }
#else
constexpr bool kThreadSanitizer = false;
inline void look_away() {}
inline void look_again() {}
inline void publish(char&) {}
inline void observe(char&) {}
#endif

// While one lives, ThreadSanitizer sees no access of this thread: the emulator's own data is not the kernel's.
struct Unseen {
  Unseen() { look_away(); }
  ~Unseen() { look_again(); }
};

}  // namespace leafcutter::gpu::emulation
