// LEAFCUTTER_SANITIZED: this program has the allocator and the shadow memory of a sanitizer, so that what is allocated and what is charged are not ours alone.
#pragma once

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LEAFCUTTER_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define LEAFCUTTER_SANITIZED 1
#endif
#endif
