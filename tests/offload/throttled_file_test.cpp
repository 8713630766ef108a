#include "offload/throttled_file.h"

#include <doctest/doctest.h>

#include <chrono>
#include <thread>
#include <vector>

#include "tests/support/memory_file.h"

using namespace leafcutter;

namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

TEST_CASE("a throttled file gives the same bytes, no faster than its rate, whoever asks") {
  std::vector<std::byte> bytes(1 << 20);
  for (std::size_t i = 0; i < bytes.size(); i++) bytes[i] = static_cast<std::byte>(i * 7);
  const auto file = offload::throttle(std::make_shared<test::MemoryFile>(bytes), 10e6);
  CHECK(file->size() == bytes.size());
  CHECK(file->descriptor() == -1);
  std::vector<std::byte> got(bytes.size());
  const auto start = std::chrono::steady_clock::now();
  {
    std::vector<std::jthread> readers;
    for (std::size_t t = 0; t < 4; t++)
      readers.emplace_back([&, t] {
        read_exactly(*file, t * (bytes.size() / 4), std::span(got).subspan(t * (bytes.size() / 4), bytes.size() / 4), "part");
      });
  }
  CHECK(got == bytes);
  CHECK(seconds_since(start) >= 0.95 * static_cast<double>(bytes.size()) / 10e6);
}

TEST_CASE("a small read does not wait behind large ones") {
  const auto file = offload::throttle(std::make_shared<test::MemoryFile>(std::vector<std::byte>(4 << 20)), 8e6);
  std::vector<std::byte> large(4 << 20), small(4096);
  std::jthread reader([&] { read_exactly(*file, 0, large, "large"); });  // half a second
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const auto start = std::chrono::steady_clock::now();
  read_exactly(*file, 0, small, "small");
  CHECK(seconds_since(start) < 0.3);
}
