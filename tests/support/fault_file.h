// Files that fail on purpose, around any other file: at call N, once or from then on.
#pragma once

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <random>
#include <string>

#include "base/error.h"
#include "base/file.h"

namespace leafcutter::test {

struct ReadFaults {
  static constexpr std::size_t kNever = ~std::size_t{0};
  std::size_t longest = kNever;  // bytes that one call gives at most (1: a byte at a time, what an interrupted read looks like from above)
  bool random_lengths = false;   // 1 to what was asked for, from `seed`
  std::uint64_t seed = 1;
  std::size_t error_at = kNever;  // this call (from 0) throws Error(io), as EIO does
  std::size_t end_at = kNever;    // from this call on the file has ended: it was cut while it was open
  bool and_after = false;         // error_at: every later call fails as well
};

// Passes reads on to `inner` (which outlives it) with faults. Thread-safe as File asks for.
class FaultFile final : public File {
 public:
  FaultFile(File& inner, const ReadFaults& faults) : inner_(inner), faults_(faults), random_(faults.seed) {}

  const std::string& name() const override { return inner_.name(); }
  std::uint64_t size() const override { return inner_.size(); }
  std::size_t read_at(std::uint64_t offset, std::span<std::byte> to) override {
    const std::size_t call = calls_++;
    if (call == faults_.error_at || (faults_.and_after && call > faults_.error_at))
      throw Error(ErrorKind::io, name() + ", offset " + std::to_string(offset), "cannot read: Input/output error");
    if (call >= faults_.end_at) return 0;
    std::size_t most = std::min(to.size(), faults_.longest);
    if (faults_.random_lengths && most > 1) {
      const std::lock_guard lock(mutex_);
      most = std::uniform_int_distribution<std::size_t>(1, most)(random_);
    }
    return inner_.read_at(offset, to.first(most));
  }
  std::size_t calls() const { return calls_; }

 private:
  File& inner_;
  ReadFaults faults_;
  std::mutex mutex_;
  std::mt19937_64 random_;
  std::atomic<std::size_t> calls_{0};
};

struct WriteFaults {
  static constexpr std::size_t kNever = ~std::size_t{0};
  std::size_t error_at = kNever;  // this call throws; write_at and commit are counted together, from 0
  bool half_written = false;      // a write that fails has written its first half, as on a full disk
  bool and_after = false;         // every later call fails as well
  std::string reason = "No space left on device";
};

// Passes writes on to the file it owns.
class FaultNewFile final : public NewFile {
 public:
  FaultNewFile(std::unique_ptr<NewFile> inner, const WriteFaults& faults) : inner_(std::move(inner)), faults_(faults) {}

  const std::string& name() const override { return inner_->name(); }
  void write_at(std::uint64_t offset, std::span<const std::byte> bytes) override {
    if (fails()) {
      if (faults_.half_written) inner_->write_at(offset, bytes.first(bytes.size() / 2));
      throw Error(ErrorKind::io, name() + ", offset " + std::to_string(offset), "cannot write: " + faults_.reason);
    }
    inner_->write_at(offset, bytes);
  }
  void commit() override {
    if (fails()) throw Error(ErrorKind::io, name(), "cannot sync: " + faults_.reason);
    inner_->commit();
  }
  std::size_t calls() const { return calls_; }

 private:
  bool fails() {
    const std::size_t call = calls_++;
    return call == faults_.error_at || (faults_.and_after && call > faults_.error_at);
  }

  std::unique_ptr<NewFile> inner_;
  WriteFaults faults_;
  std::size_t calls_ = 0;
};

}  // namespace leafcutter::test
