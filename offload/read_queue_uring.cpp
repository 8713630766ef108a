// liburing itself and not Boost.Asio over it: Asio's scheduler costs a third of the rate at reads of 512 KiB and allocates for each read handed over (docs/architecture.md has the figures).
//
// One thread owns the ring: it takes what submit() left, hands it to the kernel and sleeps there for completions. An eventfd that is always being read wakes it.
#include <liburing.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <future>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/error.h"
#include "offload/disk_probe.h"
#include "offload/read_queue.h"

namespace leafcutter::offload {
namespace {

constexpr std::uint64_t kWake = ~std::uint64_t{0};

[[noreturn]] void refuse(const char* what, int code) {
  throw Error(ErrorKind::unsupported, "io_uring", std::string(what) + ": " + std::strerror(code), "use --io threads");
}

// The ring. To be made on the thread that uses it: the kernel keeps it to that thread.
class Uring {
 public:
  explicit Uring(unsigned entries) {
    // Completions are then gathered when the thread asks for them and interrupt nobody (kernel 6.1 and later).
    int result = io_uring_queue_init(entries, &ring_, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
    if (result == -EINVAL) result = io_uring_queue_init(entries, &ring_, 0);
    if (result != 0) refuse("the kernel or the container refuses it", -result);
  }
  ~Uring() { io_uring_queue_exit(&ring_); }
  Uring(const Uring&) = delete;
  Uring& operator=(const Uring&) = delete;

  io_uring* get() { return &ring_; }

 private:
  io_uring ring_{};
};

class WakeEvent {
 public:
  WakeEvent() : fd_(::eventfd(0, EFD_CLOEXEC)) {
    if (fd_ < 0) refuse("no eventfd", errno);
  }
  ~WakeEvent() { ::close(fd_); }
  WakeEvent(const WakeEvent&) = delete;
  WakeEvent& operator=(const WakeEvent&) = delete;

  int fd() const { return fd_; }
  void signal() {
    const std::uint64_t one = 1;
    while (::write(fd_, &one, sizeof one) < 0 && errno == EINTR) {}
  }

 private:
  int fd_;
};

class UringReadQueue final : public ReadQueue {
 public:
  UringReadQueue(std::shared_ptr<File> file, std::span<std::byte> fixed, std::size_t depth, ReadDone done)
      : file_(std::move(file)), fixed_(fixed), done_(std::move(done)), slots_(depth) {
    for (std::size_t slot = depth; slot-- > 0;) free_slots_.push_back(slot);
    waiting_.reserve(depth);
    taken_.reserve(depth);
    std::promise<void> ready;
    thread_ = std::thread([&] { serve(ready); });
    try {
      ready.get_future().get();
    } catch (...) {
      thread_.join();
      throw;
    }
  }

  ~UringReadQueue() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    event_.signal();
    thread_.join();
  }

  void submit(const ReadRequest& request) override {
    {
      const std::lock_guard lock(mutex_);
      waiting_.push_back(request);
      if (awake_) return;
      awake_ = true;
    }
    event_.signal();
  }

  const char* name() const override { return registered_ ? "io_uring, registered buffers" : "io_uring"; }

 private:
  struct Slot {
    ReadRequest request;
    std::size_t done = 0;
  };

  // ---- on the ring's thread

  void serve(std::promise<void>& ready) {
    std::optional<Uring> uring;
    try {
      uring.emplace(static_cast<unsigned>(slots_.size() + 1));
    } catch (...) { return ready.set_exception(std::current_exception()); }
    ring_ = uring->get();
    const iovec memory{fixed_.data(), fixed_.size()};
    registered_ = !fixed_.empty() && io_uring_register_buffers(ring_, &memory, 1) == 0;  // the limit on locked memory may forbid it
    ready.set_value();
    read_event();
    while (take_waiting()) {
      io_uring_submit_and_wait(ring_, 1);  // an interrupted wait finds no completion and comes again
      io_uring_cqe* cqe = nullptr;
      while (io_uring_peek_cqe(ring_, &cqe) == 0) {
        const std::uint64_t what = io_uring_cqe_get_data64(cqe);
        const int result = cqe->res;
        io_uring_cqe_seen(ring_, cqe);
        if (what == kWake)
          read_event();
        else
          arrived(static_cast<std::size_t>(what), result);
      }
    }
  }

  // Hands over what came since; false when the queue is to end and nothing is under way.
  bool take_waiting() {
    {
      const std::lock_guard lock(mutex_);
      const std::size_t count = std::min(waiting_.size(), free_slots_.size());
      const auto end = waiting_.begin() + static_cast<std::ptrdiff_t>(count);
      taken_.assign(waiting_.begin(), end);
      waiting_.erase(waiting_.begin(), end);
      awake_ = false;
      if (stopping_ && taken_.empty() && free_slots_.size() == slots_.size()) return false;
    }
    for (const ReadRequest& request : taken_) {
      const std::size_t slot = free_slots_.back();
      free_slots_.pop_back();
      slots_[slot] = {request, 0};
      read_part(slot);
    }
    return true;
  }

  // There is an entry for each slot and one for the event, and each has at most one request under way.
  void read_event() {
    io_uring_sqe* sqe = io_uring_get_sqe(ring_);
    io_uring_prep_read(sqe, event_.fd(), &event_count_, sizeof event_count_, 0);
    io_uring_sqe_set_data64(sqe, kWake);
  }

  void read_part(std::size_t slot) {
    const Slot& s = slots_[slot];
    const std::span<std::byte> rest = s.request.to.subspan(s.done);
    const std::uint64_t offset = s.request.offset + s.done;
    const bool in_registered = registered_ && rest.data() >= fixed_.data() && rest.data() + rest.size() <= fixed_.data() + fixed_.size();
    io_uring_sqe* sqe = io_uring_get_sqe(ring_);
    const auto bytes = static_cast<unsigned>(rest.size());
    if (in_registered)
      io_uring_prep_read_fixed(sqe, file_->descriptor(), rest.data(), bytes, offset, 0);
    else
      io_uring_prep_read(sqe, file_->descriptor(), rest.data(), bytes, offset);
    io_uring_sqe_set_data64(sqe, slot);
  }

  void arrived(std::size_t slot, int result) {
    Slot& s = slots_[slot];
    if (result == -EINTR || result == -EAGAIN) return read_part(slot);
    if (result > 0) s.done += static_cast<std::size_t>(result);
    const bool whole = s.done == s.request.to.size();
    // A direct read that ends within a page has met the end of the file, and could not be continued.
    const bool goes_on = result > 0 && !whole && !(file_->direct() && s.done % 4096 != 0);
    if (goes_on) return read_part(slot);
    const std::uint64_t tag = s.request.tag;
    const std::exception_ptr failure = whole ? nullptr : failure_of(s, result);
    free_slots_.push_back(slot);
    done_(tag, failure);
  }

  std::exception_ptr failure_of(const Slot& s, int result) const {
    const std::string problem =
        result < 0 ? std::string("cannot read: ") + std::strerror(-result)
                   : "the file ends after " + std::to_string(s.done) + " of " + std::to_string(s.request.to.size()) + " bytes";
    return std::make_exception_ptr(
        Error(ErrorKind::io, file_->name() + ", offset " + std::to_string(s.request.offset), problem, "was it changed while open?"));
  }

  const std::shared_ptr<File> file_;
  const std::span<std::byte> fixed_;
  const ReadDone done_;
  bool registered_ = false;

  // of the ring's thread alone
  std::vector<Slot> slots_;
  std::vector<std::size_t> free_slots_;
  std::vector<ReadRequest> taken_;
  std::uint64_t event_count_ = 0;
  io_uring* ring_ = nullptr;

  WakeEvent event_;
  std::mutex mutex_;
  std::vector<ReadRequest> waiting_;
  bool awake_ = true;  // the thread will look into waiting_ before it sleeps
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<ReadQueue> make_uring_read_queue(std::shared_ptr<File> file, std::span<std::byte> fixed, std::size_t depth, ReadDone done) {
  if (file->descriptor() < 0) throw Error(ErrorKind::unsupported, file->name(), "has no descriptor for asynchronous reads");
  return std::make_unique<UringReadQueue>(std::move(file), fixed, std::max<std::size_t>(1, depth), std::move(done));
}

}  // namespace leafcutter::offload
