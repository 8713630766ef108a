// A disk whose reads go wrong at one call, or from it on, whatever file of it is read.
#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "base/error.h"
#include "base/file.h"

namespace leafcutter::test {

enum class DiskFault {
  none,
  one_byte,  // this call gives one byte, as after an interruption
  half,      // half of what was asked for
  error,     // EIO
  ends,      // no byte, as if the file had been cut here
  flipped,   // a bit of what came is wrong
};

class FaultyDisk {
 public:
  // Anew from call 0. `at`: the call that goes wrong; for_good: and every later one.
  void set(DiskFault fault, std::size_t at, bool for_good = false) {
    fault_ = fault;
    at_ = at;
    for_good_ = for_good;
    calls_ = 0;
    offset_ = kNone;
  }
  void heal() { fault_ = DiskFault::none; }
  std::size_t calls() const { return calls_; }
  // Where the first read that went wrong began; kNone: none did.
  static constexpr std::uint64_t kNone = ~std::uint64_t{0};
  std::uint64_t offset() const { return offset_; }

  // The file of the same name, read through this disk, which outlives it: buffered, without a descriptor.
  std::shared_ptr<File> around(const std::shared_ptr<File>& file) { return std::make_shared<Reads>(*this, open_file(file->name())); }

 private:
  class Reads final : public File {
   public:
    Reads(FaultyDisk& disk, std::shared_ptr<File> inner) : disk_(disk), inner_(std::move(inner)) {}
    const std::string& name() const override { return inner_->name(); }
    std::uint64_t size() const override { return inner_->size(); }
    std::size_t read_at(std::uint64_t offset, std::span<std::byte> to) override {
      switch (disk_.next(offset)) {
        case DiskFault::none:
          break;
        case DiskFault::one_byte:
          return inner_->read_at(offset, to.first(1));
        case DiskFault::half:
          return inner_->read_at(offset, to.first((to.size() + 1) / 2));
        case DiskFault::error:
          throw Error(ErrorKind::io, name() + ", offset " + std::to_string(offset), "cannot read: Input/output error");
        case DiskFault::ends:
          return 0;
        case DiskFault::flipped: {
          const std::size_t got = inner_->read_at(offset, to);
          if (got > 0) to[got / 2] ^= std::byte{4};
          return got;
        }
      }
      return inner_->read_at(offset, to);
    }

   private:
    FaultyDisk& disk_;
    const std::shared_ptr<File> inner_;
  };

  DiskFault next(std::uint64_t offset) {
    const std::size_t call = calls_++;
    if (call != at_ && !(for_good_ && call > at_)) return DiskFault::none;
    if (fault_ != DiskFault::none && call == at_) offset_ = offset;
    return fault_;
  }

  std::atomic<DiskFault> fault_ = DiskFault::none;
  std::atomic<std::size_t> at_ = 0, calls_ = 0;
  std::atomic<bool> for_good_ = false;
  std::atomic<std::uint64_t> offset_ = kNone;
};

}  // namespace leafcutter::test
