// Files in memory: what parsers and writers are tested on.
#pragma once

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "base/file.h"

namespace leafcutter::test {

class MemoryFile final : public File {
 public:
  explicit MemoryFile(std::vector<std::byte> content, std::string name = "memory.leaf")
      : bytes(std::move(content)), name_(std::move(name)) {}

  const std::string& name() const override { return name_; }
  std::uint64_t size() const override { return bytes.size(); }
  std::size_t read_at(std::uint64_t offset, std::span<std::byte> to) override {
    if (offset >= bytes.size()) return 0;
    const std::size_t got = std::min<std::uint64_t>(to.size(), bytes.size() - offset);
    if (got > 0) std::memcpy(to.data(), bytes.data() + offset, got);
    return got;
  }

  std::vector<std::byte> bytes;

 private:
  std::string name_;
};

// What was written stays in `bytes`; `committed` tells whether it would be under its name.
class MemoryNewFile final : public NewFile {
 public:
  const std::string& name() const override { return name_; }
  void write_at(std::uint64_t offset, std::span<const std::byte> from) override {
    if (bytes.size() < offset + from.size()) bytes.resize(offset + from.size());
    std::copy(from.begin(), from.end(), bytes.begin() + static_cast<std::ptrdiff_t>(offset));
    writes++;
  }
  void commit() override { committed = true; }

  std::vector<std::byte> bytes;
  std::size_t writes = 0;
  bool committed = false;

 private:
  std::string name_ = "memory.leaf";
};

}  // namespace leafcutter::test
