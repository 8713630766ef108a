// Global memory as kernels see it: the buffers that a test registers, at the addresses they have on the host. Anything else is an error, and so is writing what is read-only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace leafcutter::ptx {

struct Region {
  std::string name;
  std::uint64_t begin = 0, end = 0;
  bool writable = false;
  std::vector<std::uint8_t> touched;  // of each sector since the launch began: kRead, kWritten, kReadOnlyPath
};

class GlobalMemory {
 public:
  static constexpr std::uint8_t kRead = 1, kWritten = 2, kReadOnlyPath = 4;

  // The bytes stay the caller's and outlive this object. Throws std::runtime_error where they overlap what is there already.
  void add(const std::string& name, std::span<const std::byte> bytes) { insert(name, bytes.data(), bytes.size(), false); }
  void add_writable(const std::string& name, std::span<std::byte> bytes) { insert(name, bytes.data(), bytes.size(), true); }
  template <class T>
  void add(const std::string& name, const std::vector<T>& values) {
    add(name, std::as_bytes(std::span(values)));
  }
  template <class T>
  void add_writable(const std::string& name, std::vector<T>& values) {
    add_writable(name, std::as_writable_bytes(std::span(values)));
  }

  // Where no pointer is at hand.
  void add_at(const std::string& name, std::uint64_t address, std::uint64_t bytes, bool writable) {
    insert(name, reinterpret_cast<const void*>(address), bytes, writable);
  }

  // The region with all of the bytes, or nullptr.
  Region* find(std::uint64_t address, std::uint64_t bytes);

  void begin_launch();
  // Since the launch began, in sectors touched for the first time. What was written first is not read from DRAM.
  std::uint64_t read_sectors() const;
  std::uint64_t written_sectors() const;

 private:
  void insert(const std::string& name, const void* data, std::size_t bytes, bool writable);
  std::vector<Region> regions_;  // by address
  std::size_t last_ = 0;         // where the last access was
};

}  // namespace leafcutter::ptx
