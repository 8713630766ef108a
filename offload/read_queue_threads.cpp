#include <condition_variable>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "base/error.h"
#include "offload/read_queue.h"

namespace leafcutter::offload {
namespace {

class ThreadReadQueue final : public ReadQueue {
 public:
  ThreadReadQueue(std::shared_ptr<File> file, std::size_t threads, std::size_t depth, ReadDone done)
      : file_(std::move(file)), done_(std::move(done)) {
    waiting_.reserve(depth);
    threads_.reserve(threads);
    try {
      while (threads_.size() < threads) threads_.emplace_back([this] { serve(); });
    } catch (const std::system_error& e) {  // fewer serve as well
      if (threads_.empty()) throw Error(ErrorKind::io, file_->name(), std::string("the system gives no thread for reading: ") + e.what());
    }
  }

  ~ThreadReadQueue() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  void submit(const ReadRequest& request) override {
    {
      const std::lock_guard lock(mutex_);
      waiting_.push_back(request);
    }
    changed_.notify_one();
  }

  const char* name() const override { return "threads"; }

 private:
  void serve() {
    for (;;) {
      ReadRequest request;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
        if (waiting_.empty()) return;
        request = waiting_.front();
        waiting_.erase(waiting_.begin());  // a handful at the most, in order
      }
      std::exception_ptr failure;
      try {
        read_exactly(*file_, request.offset, request.to, "chunk");
      } catch (...) { failure = std::current_exception(); }
      done_(request.tag, failure);
    }
  }

  std::shared_ptr<File> file_;
  ReadDone done_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<ReadRequest> waiting_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace

std::unique_ptr<ReadQueue> make_thread_read_queue(std::shared_ptr<File> file, std::size_t threads, std::size_t depth, ReadDone done) {
  return std::make_unique<ThreadReadQueue>(std::move(file), threads, depth, std::move(done));
}

}  // namespace leafcutter::offload
