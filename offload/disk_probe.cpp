#include "offload/disk_probe.h"

#include <fcntl.h>
#include <liburing.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/page_buffer.h"
#include "offload/host_memory.h"
#include "offload/read_queue.h"
#include "offload/stream_file.h"

namespace leafcutter::offload {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kBlock = std::size_t{4} << 20;  // what is written at a time, and the least that can be measured with
constexpr std::size_t kMostInFlight = std::size_t{32} << 20;
constexpr std::uint64_t kShortRead = std::uint64_t{64} << 20;  // enough to tell how much to read with each shape
// What is tried, the one that is taken without a reason for another first; few bytes in flight are better than many.
constexpr ReadShape kShapes[] = {{std::size_t{1} << 20, 16},
                                 {std::size_t{1} << 20, 8},
                                 {std::size_t{512} << 10, 32},
                                 {std::size_t{2} << 20, 8},
                                 {std::size_t{4} << 20, 8}};

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Reads `total` bytes from `begin` on; GB/s.
double read_rate(const std::shared_ptr<File>& file, std::uint64_t begin, std::uint64_t total, ReadShape shape, const PageBuffer& buffer,
                 std::string& backend) {
  const std::size_t depth = std::clamp<std::size_t>(buffer.size() / shape.bytes, 1, shape.in_flight);
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::size_t> free;
  for (std::size_t slot = 0; slot < depth; slot++) free.push_back(slot);
  std::exception_ptr problem;
  const ReadDone done = [&](std::uint64_t slot, std::exception_ptr failure) {
    const std::lock_guard lock(mutex);
    if (failure) problem = failure;
    free.push_back(static_cast<std::size_t>(slot));
    changed.notify_one();
  };
  std::unique_ptr<ReadQueue> queue;
  try {
    queue = make_uring_read_queue(file, buffer.bytes(), depth, done);
  } catch (const Error&) { queue = make_thread_read_queue(file, std::min<std::size_t>(depth, 4), depth, done); }
  backend = queue->name();
  const auto start = Clock::now();
  std::unique_lock lock(mutex);
  for (std::uint64_t at = 0; at + shape.bytes <= total && !problem; at += shape.bytes) {
    changed.wait(lock, [&] { return !free.empty(); });
    const std::size_t slot = free.back();
    free.pop_back();
    queue->submit({begin + at, buffer.bytes().subspan(slot * shape.bytes, shape.bytes), slot});
  }
  changed.wait(lock, [&] { return free.size() == depth; });
  if (problem) std::rethrow_exception(problem);
  const std::uint64_t whole_reads = total / shape.bytes * shape.bytes;
  return static_cast<double>(whole_reads) / seconds_since(start) / 1e9;
}

// The median of some reads of 32 KiB, spread over the file.
double small_read_seconds(File& file, std::uint64_t total, const PageBuffer& buffer) {
  constexpr std::size_t kReads = 33, kBytes = std::size_t{32} << 10;
  std::vector<double> seconds;
  for (std::uint64_t i = 0; i < kReads; i++) {
    const auto start = Clock::now();
    read_exactly(file, (total - kBytes) / kReads * i / 4096 * 4096, buffer.bytes().first(kBytes), "probe");
    seconds.push_back(seconds_since(start));
  }
  std::nth_element(seconds.begin(), seconds.begin() + kReads / 2, seconds.end());
  return seconds[kReads / 2];
}

// Some rounds of short reads, each shape once a round so that a disk's moods meet all of them. Another shape than the first must be clearly faster to be taken.
ReadShape fastest_shape(const std::shared_ptr<File>& file, std::uint64_t total, double gb_s, const PageBuffer& buffer) {
  constexpr std::size_t kRounds = 3;
  constexpr double kRoundSeconds = 0.02, kClearly = 1.1;
  constexpr std::uint64_t kLeast = std::uint64_t{8} << 20, kMost = std::uint64_t{64} << 20;
  const auto wanted = static_cast<std::uint64_t>(gb_s * 1e9 * kRoundSeconds);
  const std::uint64_t bytes = std::min(std::clamp(wanted, kLeast, kMost), total) >> 22 << 22;
  std::vector<std::vector<double>> rates(std::size(kShapes));
  std::uint64_t at = 0;
  std::string backend;
  for (std::size_t round = 0; round < kRounds; round++)
    for (std::size_t i = 0; i < std::size(kShapes); i++) {
      if (at + bytes > total) at = 0;
      rates[i].push_back(read_rate(file, at, bytes, kShapes[i], buffer, backend));
      at += bytes;
    }
  const auto median = [&](std::size_t i) {
    std::sort(rates[i].begin(), rates[i].end());
    return rates[i][kRounds / 2];
  };
  std::size_t best = 0;
  double best_rate = median(0) * kClearly;
  for (std::size_t i = 1; i < std::size(kShapes); i++)
    if (const double rate = median(i); rate > best_rate) best = i, best_rate = rate;
  return kShapes[best];
}

}  // namespace

DiskProbe probe_file(const std::string& path, std::uint64_t bytes) {
  const auto file = open_for_streaming(path);
  const std::uint64_t total = std::min(bytes, file->size());
  if (total < kBlock) throw Error(ErrorKind::io, path, "is too small to measure the disk with");
  // In a small container fewer reads at once: a slower probe is better than a killed one.
  const std::uint64_t room = std::clamp<std::uint64_t>(host_memory().available / 4, kBlock, kMostInFlight) / kBlock * kBlock;
  const PageBuffer buffer(static_cast<std::size_t>(room), "disk probe");
  DiskProbe probe;
  std::string backend;
  const double about = read_rate(file, 0, std::min(total, kShortRead), probe.reads, buffer, backend);
  probe.reads = fastest_shape(file, total, about, buffer);
  probe.gb_s = read_rate(file, 0, total, probe.reads, buffer, backend);
  probe.single_gb_s = read_rate(file, 0, std::max<std::uint64_t>(total / 4, kBlock), {probe.reads.bytes, 1}, buffer, backend);
  probe.small_read_s = small_read_seconds(*file, total, buffer);
  probe.direct = file->direct();
  probe.backend = backend.starts_with("io_uring") ? "io_uring" : "threads";
  return probe;
}

DiskProbe probe_disk(const std::string& folder, std::uint64_t bytes) {
  std::string path = (std::filesystem::path(folder) / ".leafcutter-probe-XXXXXX").string();
  const int fd = ::mkostemp(path.data(), O_CLOEXEC);
  if (fd < 0) throw Error(ErrorKind::io, folder, std::string("cannot write a probe there: ") + std::strerror(errno));
  struct Remover {
    const std::string& path;
    int fd;
    ~Remover() {
      ::close(fd);
      ::unlink(path.c_str());
    }
  } const remover{path, fd};
  const PageBuffer block(kBlock, "disk probe");
  std::uint64_t state = 1;
  for (std::size_t i = 0; i + 8 <= block.size(); i += 8) {  // nothing that a disk could compress or leave out
    state = state * 6364136223846793005u + 1442695040888963407u;
    std::memcpy(block.data() + i, &state, sizeof state);
  }
  for (std::uint64_t at = 0; at + kBlock <= bytes; at += kBlock)
    if (::pwrite(fd, block.data(), kBlock, static_cast<off_t>(at)) != static_cast<ssize_t>(kBlock))
      throw Error(ErrorKind::io, folder, std::string("cannot write a probe there: ") + std::strerror(errno));
  ::fsync(fd);
  ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  return probe_file(path, bytes);
}

bool io_uring_works() {
  static const bool works = [] {
    io_uring ring;
    if (io_uring_queue_init(2, &ring, 0) != 0) return false;
    io_uring_queue_exit(&ring);
    return true;
  }();
  return works;
}

}  // namespace leafcutter::offload
