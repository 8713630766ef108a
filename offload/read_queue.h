// Several reads of one file in flight. Two back ends: Boost.Asio over io_uring, and a pool of threads over File::read_at, which serves everywhere and on which tests inject faults.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <span>

#include "base/file.h"

namespace leafcutter::offload {

// One read: bytes [offset, offset + to.size()) of the file. For direct files all three are multiples of 4096.
struct ReadRequest {
  std::uint64_t offset = 0;
  std::span<std::byte> to;
  std::uint64_t tag = 0;
};

// Called on a thread of the queue, once for each request: with null when all bytes are there, else with an Error.
using ReadDone = std::function<void(std::uint64_t tag, std::exception_ptr failure)>;

class ReadQueue {
 public:
  virtual ~ReadQueue() = default;                       // waits for the reads in flight; their ReadDone is called before it returns
  virtual void submit(const ReadRequest& request) = 0;  // returns at once; thread-safe
  virtual const char* name() const = 0;
};

// `fixed`: memory that most reads go to; registered with the kernel where that is allowed, which saves most of a read's cost on the processor.
// Throws Error(unsupported) where the kernel or the container refuses io_uring, or the file has no descriptor.
std::unique_ptr<ReadQueue> make_uring_read_queue(std::shared_ptr<File> file, std::span<std::byte> fixed, std::size_t depth, ReadDone done);

std::unique_ptr<ReadQueue> make_thread_read_queue(std::shared_ptr<File> file, std::size_t threads, std::size_t depth, ReadDone done);

}  // namespace leafcutter::offload
