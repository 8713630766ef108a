#include "offload/resident_loader.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "base/error.h"
#include "compress/leaf_reader.h"
#include "offload/chunk_sizes.h"

namespace leafcutter::offload {
namespace {

// Many more threads than cores: most of them wait for the disk, and while some touch and hash, eight reads of up to 4 MiB, which are what disks want, should still be in flight (docs/benchmarks.md, "What
// loading waits for").
constexpr std::size_t kThreads = 16;

class Loader {
 public:
  Loader(File& file, const compress::LeafIndex& index, std::span<const ResidentChunk> chunks, std::span<std::byte> staging,
         std::size_t staging_slot, const std::function<void(std::uint64_t, std::uint64_t)>& progress, const std::stop_token& stop)
      : file_(file), index_(index), chunks_(chunks), staging_(staging), staging_slot_(staging_slot), progress_(progress), stop_(stop) {
    for (const ResidentChunk& c : chunks_) total_ += stored_pages(index_.chunks[c.chunk]);
  }

  void run() {
    const std::size_t at_once = staging_slot_ > 0 ? std::min(kThreads, staging_.size() / staging_slot_) : kThreads;
    {
      std::vector<std::jthread> threads;
      threads.reserve(kThreads);
      try {
        for (std::size_t t = 1; t < std::min(at_once, chunks_.size()); t++) threads.emplace_back([this, t] { work(t); });
      } catch (const std::system_error&) {  // no more threads to be had: those that are there do it
      }
      work(0);
    }
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  void work(std::size_t thread) {
    for (std::size_t i; !failed_ && (i = next_++) < chunks_.size();) {
      try {
        if (stop_.stop_requested()) throw Error(ErrorKind::cancelled, file_.name(), "loading was stopped on request");
        load(chunks_[i], thread);
        const std::lock_guard lock(mutex_);
        done_ += stored_pages(index_.chunks[chunks_[i].chunk]);
        if (progress_) progress_(done_, total_);
      } catch (...) {
        const std::lock_guard lock(mutex_);
        if (!failure_) failure_ = std::current_exception();
        failed_ = true;
      }
    }
  }

  void load(const ResidentChunk& resident, std::size_t thread) {
    const compress::ChunkEntry& chunk = index_.chunks[resident.chunk];
    // Fresh memory is zeroed by the kernel here, in the shadow of the other threads' reads, and not page by page within the read, which would take it in 4 KiB pieces.
    for (std::size_t at = 0; at < resident.to.size(); at += compress::kPage) resident.to[at] = std::byte{0};
    const bool coded = chunk.codec != compress::Codec::none;
    const std::span<std::byte> to = coded ? staging_.subspan(thread * staging_slot_) : resident.to;
    const std::span<std::byte> stored = to.first(stored_pages(chunk));
    try {
      read_exactly(file_, chunk.file_offset, stored, "chunk");
    } catch (const Error& e) { throw Error(e.kind(), compress::chunk_place(index_, resident.chunk), e.what()); }
    compress::decode_chunk(index_, resident.chunk, stored, resident.to.first(chunk.raw_bytes), file_.name());
  }

  File& file_;
  const compress::LeafIndex& index_;
  const std::span<const ResidentChunk> chunks_;
  const std::span<std::byte> staging_;
  const std::size_t staging_slot_;
  const std::function<void(std::uint64_t, std::uint64_t)>& progress_;
  const std::stop_token& stop_;

  std::atomic<std::size_t> next_{0};
  std::atomic<bool> failed_{false};
  std::mutex mutex_;
  std::exception_ptr failure_;
  std::uint64_t done_ = 0, total_ = 0;
};

}  // namespace

void load_chunks(File& file, const compress::LeafIndex& index, std::span<const ResidentChunk> chunks, std::span<std::byte> staging,
                 std::size_t staging_slot, const std::function<void(std::uint64_t, std::uint64_t)>& progress, const std::stop_token& stop) {
  Loader(file, index, chunks, staging, staging_slot, progress, stop).run();
}

}  // namespace leafcutter::offload
