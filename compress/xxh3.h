// XXH3-64, seed 0: finds accidents, not attackers (docs/format.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace leafcutter::compress {

std::uint64_t xxh3(std::span<const std::byte> bytes);

// The same over bytes that come in parts.
class Xxh3Stream {
 public:
  Xxh3Stream();
  ~Xxh3Stream();
  void add(std::span<const std::byte> bytes);
  std::uint64_t hash() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace leafcutter::compress
