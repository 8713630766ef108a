#include "offload/throttled_file.h"

#include <algorithm>
#include <chrono>
#include <mutex>
#include <thread>
#include <utility>

namespace leafcutter::offload {
namespace {

using Clock = std::chrono::steady_clock;

// The row of an embedding does not wait behind what was read ahead: disks serve several queues at once.
constexpr std::size_t kSmallRead = std::size_t{64} << 10;

class ThrottledFile final : public File {
 public:
  ThrottledFile(std::shared_ptr<File> file, double bytes_per_second) : file_(std::move(file)), seconds_a_byte_(1 / bytes_per_second) {}

  const std::string& name() const override { return file_->name(); }
  std::uint64_t size() const override { return file_->size(); }
  bool direct() const override { return file_->direct(); }

  std::size_t read_at(std::uint64_t offset, std::span<std::byte> to) override {
    const auto span =
        std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(static_cast<double>(to.size()) * seconds_a_byte_));
    Clock::time_point arrival;
    {
      const std::lock_guard lock(mutex_);
      const auto now = Clock::now();
      free_ = std::max(free_, now) + span;
      arrival = to.size() <= kSmallRead ? now + span : free_;
    }
    const std::size_t came = file_->read_at(offset, to);
    std::this_thread::sleep_until(arrival);
    return came;
  }

 private:
  const std::shared_ptr<File> file_;
  const double seconds_a_byte_;
  std::mutex mutex_;
  Clock::time_point free_{};  // when the link has carried what was asked for so far
};

}  // namespace

std::shared_ptr<File> throttle(std::shared_ptr<File> file, double bytes_per_second) {
  return std::make_shared<ThrottledFile>(std::move(file), bytes_per_second);
}

}  // namespace leafcutter::offload
