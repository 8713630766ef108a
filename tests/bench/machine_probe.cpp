// What this machine can do at most, now; to be set beside a figure of the same minutes. Nothing here computes anything useful.
//
//   machine_probe memory [--mib 4096] [--reps 9]            reading memory with 1 and 2 threads
//   machine_probe compute [--ms 500]                        int8 dot products from registers with 1 and 2 threads
//   machine_probe touch [--mib 1024] [--threads N]          touching fresh memory for the first time with 1 and 2 threads, or with N. What one touches has just been used by the one before: it
//                                                           counts where memory that lies free goes back to a host
//   machine_probe read FILE [--mib 2048]                    direct reads of FILE: 4 and 16 MiB by 2, 4 and 8 readers, the best last
//   machine_probe write FOLDER [--mib 1024]                 direct writes of 4 MiB to a new file there, and its fsync
//   machine_probe stream FILE RESIDENT_BYTES [--passes 5]   RESIDENT_BYTES of FILE stay in memory, the rest is read once a pass with direct reads through a ring and every byte
//                                                           is touched: what decoding a file larger than memory cannot pass. All of slots {4,8,16} MiB x readers {2,4,8}, best last.
//
// One JSON object a line.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/page_buffer.h"
#include "base/thread_team.h"
#include "bench/dot_ceiling.h"
#include "kernels/isa.h"
#include "kernels/read_probe.h"
#include "offload/stream_file.h"

namespace {

using namespace leafcutter;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kMiB = std::size_t{1} << 20;

volatile std::uint64_t sink;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void touch(std::span<const std::byte> bytes) { sink = sink ^ kernels::read_all(bytes.first(bytes.size() / 512 * 512)); }

void memory(std::size_t bytes, std::size_t reps) {
  const PageBuffer buffer(bytes, "probe");
  for (std::size_t threads = 1; threads <= 2; threads++) {
    ThreadTeam team(threads);
    std::vector<double> rates;
    for (std::size_t r = 0; r < reps; r++) {
      const std::size_t share = bytes / threads / 512 * 512;
      const auto start = Clock::now();
      team.run(threads, [&](std::size_t t, std::size_t) { touch(buffer.bytes().subspan(t * share, share)); });
      rates.push_back(static_cast<double>(share * threads) / seconds_since(start) / 1e9);
    }
    std::printf("{\"probe\":\"memory\",\"threads\":%zu,\"gb_s\":%.2f,\"min\":%.2f,\"max\":%.2f}\n", threads, median(rates),
                *std::min_element(rates.begin(), rates.end()), *std::max_element(rates.begin(), rates.end()));
  }
}

void compute(double seconds) {
  const bool vnni = kernels::default_isa() == kernels::Isa::avx512vnni || kernels::default_isa() == kernels::Isa::amx;
  const auto dots = vnni ? bench::dot_ceiling_avx512 : bench::dot_ceiling_avx2;
  const double ops = (vnni ? bench::kDotOpsAvx512 : bench::kDotOpsAvx2) * bench::kDotChains;
  constexpr long kTry = 1 << 22;
  const auto begin = Clock::now();
  sink = sink + static_cast<std::uint64_t>(dots(kTry));
  const long steps = static_cast<long>(seconds / seconds_since(begin) * kTry);
  for (std::size_t threads = 1; threads <= 2; threads++) {
    ThreadTeam team(threads);
    const auto start = Clock::now();
    team.run(threads, [&](std::size_t, std::size_t) { sink = sink ^ static_cast<std::uint64_t>(dots(steps)); });
    std::printf("{\"probe\":\"int8\",\"isa\":\"%s\",\"threads\":%zu,\"gop_s\":%.0f}\n", kernels::isa_name(kernels::default_isa()), threads,
                static_cast<double>(steps) * ops * static_cast<double>(threads) / seconds_since(start) / 1e9);
  }
}

void first_touch(std::size_t bytes, std::size_t least_threads, std::size_t most_threads) {
  for (std::size_t threads = least_threads; threads <= most_threads; threads++) {
    const PageBuffer buffer(bytes, "probe", false);
    ThreadTeam team(threads);
    const std::size_t pieces = bytes / (4 * kMiB);
    const auto start = Clock::now();
    team.run(pieces, [&](std::size_t piece, std::size_t) {
      for (std::size_t at = piece * 4 * kMiB; at < (piece + 1) * 4 * kMiB; at += 4096) buffer.data()[at] = std::byte{1};
    });
    std::printf("{\"probe\":\"touch\",\"threads\":%zu,\"gb_s\":%.2f}\n", threads,
                static_cast<double>(pieces * 4 * kMiB) / seconds_since(start) / 1e9);
  }
}

double read_rate(File& file, std::size_t bytes, std::size_t slot, std::size_t readers, const PageBuffer& buffer) {
  std::atomic<std::size_t> next{0};
  const auto start = Clock::now();
  {
    std::vector<std::jthread> threads;
    for (std::size_t r = 0; r < readers; r++)
      threads.emplace_back([&, r] {
        for (std::size_t at; (at = slot * next++) + slot <= bytes;) read_exactly(file, at, buffer.bytes().subspan(r * slot, slot), "probe");
      });
  }
  return static_cast<double>(bytes / slot * slot) / seconds_since(start) / 1e9;
}

void disk_read(const std::string& path, std::size_t limit) {
  const auto file = offload::open_for_streaming(path);
  const std::size_t bytes = std::min<std::size_t>(limit, file->size());
  const PageBuffer buffer(8 * 16 * kMiB, "probe");
  double best = 0;
  for (const std::size_t slot : {4 * kMiB, 16 * kMiB})
    for (const std::size_t readers : {2, 4, 8}) {
      const double rate = read_rate(*file, bytes, slot, readers, buffer);
      std::printf("{\"probe\":\"read\",\"slot_mib\":%zu,\"readers\":%zu,\"gb_s\":%.2f}\n", slot / kMiB, readers, rate);
      best = std::max(best, rate);
    }
  std::printf("{\"probe\":\"read\",\"best\":true,\"direct\":%s,\"gb_s\":%.2f}\n", file->direct() ? "true" : "false", best);
}

void disk_write(const std::string& folder, std::size_t bytes) {
  const std::string path = (std::filesystem::path(folder) / "machine_probe.tmp").string();
  const PageBuffer block(4 * kMiB, "probe");
  std::uint64_t state = 1;
  for (std::size_t i = 0; i + 8 <= block.size(); i += 8) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    std::memcpy(block.data() + i, &state, sizeof state);
  }
  const auto write = [&](int flags, const char* how) {
    const int fd = ::open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC | flags, 0600);
    if (fd < 0) throw Error(ErrorKind::io, path, "cannot be made");
    const auto start = Clock::now();
    bool good = true;
    for (std::size_t at = 0; good && at + block.size() <= bytes; at += block.size())
      good = ::pwrite(fd, block.data(), block.size(), static_cast<off_t>(at)) == static_cast<ssize_t>(block.size());
    good = ::fsync(fd) == 0 && good;
    const double seconds = seconds_since(start);
    ::close(fd);
    ::unlink(path.c_str());
    if (!good) throw Error(ErrorKind::io, path, "cannot be written");
    std::printf("{\"probe\":\"write\",\"how\":\"%s\",\"gb_s\":%.2f}\n", how, static_cast<double>(bytes) / seconds / 1e9);
  };
  write(O_DIRECT, "direct");
  write(0, "buffered");
}

// ---- the stream

struct StreamShape {
  std::size_t slot, readers;
};

// Seconds of a pass in the long run: the mean over all passes but the first, with the reads going on behind the last. Not the median: reads that are in flight together end together, so that a pass ends with
// much or little of the next one read already, and the passes of a ring that holds a good part of one take turns at being short and long.
double stream_pass_seconds(File& file, std::size_t resident, const PageBuffer& held, StreamShape shape, std::size_t passes) {
  constexpr std::size_t kSlots = 8;
  const std::size_t size = file.size() / 4096 * 4096, chunks = (size - resident + shape.slot - 1) / shape.slot,
                    total = chunks * passes + kSlots;
  const PageBuffer ring(shape.slot * kSlots, "probe");
  std::mutex mutex;
  std::condition_variable changed;
  std::size_t issued = 0, consumed = 0;
  std::vector<std::size_t> filled(kSlots, ~std::size_t{0});
  const auto bytes_of = [&](std::size_t chunk) { return std::min(shape.slot, size - resident - chunk % chunks * shape.slot); };
  std::vector<std::jthread> readers;
  for (std::size_t r = 0; r < shape.readers; r++)
    readers.emplace_back([&] {
      for (;;) {
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] { return issued >= total || issued < consumed + kSlots; });
        if (issued >= total) return;
        const std::size_t chunk = issued++;
        lock.unlock();
        read_exactly(file, resident + chunk % chunks * shape.slot, ring.bytes().subspan(chunk % kSlots * shape.slot, bytes_of(chunk)),
                     "probe");
        lock.lock();
        filled[chunk % kSlots] = chunk;
        changed.notify_all();
      }
    });
  auto start = Clock::now();
  for (std::size_t pass = 0; pass < passes; pass++) {
    if (pass == 1) start = Clock::now();  // the first one began with an empty ring
    touch(held.bytes());
    for (std::size_t chunk = pass * chunks; chunk < (pass + 1) * chunks; chunk++) {
      std::unique_lock lock(mutex);
      changed.wait(lock, [&] { return filled[chunk % kSlots] == chunk; });
      lock.unlock();
      touch(ring.bytes().subspan(chunk % kSlots * shape.slot, bytes_of(chunk)));
      lock.lock();
      consumed = chunk + 1;
      changed.notify_all();
    }
  }
  return seconds_since(start) / static_cast<double>(std::max<std::size_t>(1, passes - 1));
}

void stream(const std::string& path, std::size_t resident, std::size_t passes) {
  const auto file = offload::open_for_streaming(path);
  resident = std::min<std::size_t>(resident, file->size()) / 4096 * 4096;
  const PageBuffer held(resident, "probe");
  double best = 1e9;
  StreamShape best_shape{};
  for (const std::size_t slot : {4 * kMiB, 8 * kMiB, 16 * kMiB})
    for (const std::size_t readers : {2, 4, 8}) {
      const double seconds = stream_pass_seconds(*file, resident, held, {slot, readers}, passes);
      std::printf("{\"probe\":\"stream\",\"slot_mib\":%zu,\"readers\":%zu,\"pass_s\":%.4f}\n", slot / kMiB, readers, seconds);
      if (seconds < best) best = seconds, best_shape = {slot, readers};
    }
  std::printf(
      "{\"probe\":\"stream\",\"best\":true,\"slot_mib\":%zu,\"readers\":%zu,\"pass_s\":%.4f,\"passes_s\":%.4f,\"streamed_gb_s\":%.3f}\n",
      best_shape.slot / kMiB, best_shape.readers, best, 1 / best, static_cast<double>(file->size() - resident) / best / 1e9);
}

int usage() {
  std::fputs(
      "usage: machine_probe memory [--mib N] [--reps N] | compute [--ms N] | touch [--mib N] [--threads N] | read FILE [--mib N]\n"
      "       | write FOLDER [--mib N] | stream FILE RESIDENT_BYTES [--passes N]\n",
      stderr);
  return 2;
}

}  // namespace

int main(int argc, char** argv) try {
  std::vector<std::string> places;
  std::size_t mib = 0, reps = 9, passes = 5, ms = 500, threads = 0;
  for (int i = 1; i < argc; i++) {
    const std::string word = argv[i];
    if (!word.starts_with("--")) {
      places.push_back(word);
      continue;
    }
    if (++i == argc) return usage();
    const auto number = static_cast<std::size_t>(std::strtoull(argv[i], nullptr, 10));
    if (number == 0) return usage();
    if (word == "--mib")
      mib = number;
    else if (word == "--reps")
      reps = number;
    else if (word == "--passes")
      passes = number;
    else if (word == "--ms")
      ms = number;
    else if (word == "--threads")
      threads = number;
    else
      return usage();
  }
  const std::string what = places.empty() ? "" : places[0];
  const auto bytes = [&](std::size_t otherwise) { return (mib > 0 ? mib : otherwise) * kMiB; };
  if (what == "memory" && places.size() == 1)
    memory(bytes(4096), reps);
  else if (what == "compute" && places.size() == 1)
    compute(static_cast<double>(ms) / 1e3);
  else if (what == "touch" && places.size() == 1)
    first_touch(bytes(1024), threads > 0 ? threads : 1, threads > 0 ? threads : 2);
  else if (what == "read" && places.size() == 2)
    disk_read(places[1], bytes(2048));
  else if (what == "write" && places.size() == 2)
    disk_write(places[1], bytes(1024));
  else if (what == "stream" && places.size() == 3)
    stream(places[1], std::strtoull(places[2].c_str(), nullptr, 10), passes);
  else
    return usage();
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "machine_probe: %s\n", e.what());
  return 1;
}
