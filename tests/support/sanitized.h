// LEAFCUTTER_SANITIZED: this program has the allocator and the shadow memory of a sanitizer, so that what is allocated and what is charged are not ours alone. LEAFCUTTER_THREAD_SANITIZED: that of ThreadSanitizer.
#pragma once

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LEAFCUTTER_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define LEAFCUTTER_SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define LEAFCUTTER_THREAD_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define LEAFCUTTER_THREAD_SANITIZED 1
#endif
#endif

namespace leafcutter::test {

#ifdef LEAFCUTTER_SANITIZED
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

// Of cases that are much alike, a quarter: a sanitizer makes each ten times slower, and looks for mistakes that nearly all of them would show.
constexpr int fewer_if_sanitized(int cases) { return kSanitized ? (cases + 3) / 4 : cases; }

}  // namespace leafcutter::test
