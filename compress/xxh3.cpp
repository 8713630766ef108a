#include "compress/xxh3.h"

#define XXH_INLINE_ALL  // Debian's library is header and code in one; nothing to link
#include <xxhash.h>

namespace leafcutter::compress {

struct Xxh3Stream::State {
  XXH3_state_t state;
};

std::uint64_t xxh3(std::span<const std::byte> bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

Xxh3Stream::Xxh3Stream() : state_(std::make_unique<State>()) { XXH3_64bits_reset(&state_->state); }
Xxh3Stream::~Xxh3Stream() = default;
void Xxh3Stream::add(std::span<const std::byte> bytes) { XXH3_64bits_update(&state_->state, bytes.data(), bytes.size()); }
std::uint64_t Xxh3Stream::hash() const { return XXH3_64bits_digest(&state_->state); }

}  // namespace leafcutter::compress
