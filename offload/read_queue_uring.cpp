#define BOOST_ASIO_HAS_IO_URING 1
#define BOOST_ASIO_DISABLE_EPOLL 1
#include <unistd.h>

#include <atomic>
#include <boost/asio.hpp>
#include <boost/asio/buffer_registration.hpp>
#include <optional>
#include <thread>
#include <vector>

#include "base/error.h"
#include "offload/disk_probe.h"
#include "offload/read_queue.h"

namespace leafcutter::offload {
namespace {

namespace asio = boost::asio;

class UringReadQueue final : public ReadQueue {
 public:
  UringReadQueue(std::shared_ptr<File> file, std::span<std::byte> fixed, ReadDone done)
      : file_(std::move(file)),
        fixed_(fixed),
        done_(std::move(done)),
        asio_file_(context_, ::dup(file_->descriptor())),
        work_(asio::make_work_guard(context_)) {
    if (!fixed_.empty()) {
      try {
        registration_.emplace(
            asio::register_buffers(context_, std::vector<asio::mutable_buffer>{asio::buffer(fixed_.data(), fixed_.size())}));
      } catch (const boost::system::system_error&) {  // the limit on locked memory: unregistered reads serve as well
      }
    }
    thread_ = std::thread([this] { context_.run(); });
  }

  ~UringReadQueue() override {
    work_.reset();
    thread_.join();
  }

  void submit(const ReadRequest& request) override {
    asio::post(context_, [this, request] { read_part({request, 0}); });
  }

  const char* name() const override { return registration_ ? "io_uring, registered buffers" : "io_uring"; }

 private:
  struct Part {
    ReadRequest request;
    std::size_t done;
  };

  void read_part(Part part) {
    const auto handler = [this, part](const boost::system::error_code& problem, std::size_t bytes) { arrived(part, problem, bytes); };
    const std::span<std::byte> rest = part.request.to.subspan(part.done);
    const std::uint64_t offset = part.request.offset + part.done;
    if (registration_ && rest.data() >= fixed_.data() && rest.data() + rest.size() <= fixed_.data() + fixed_.size()) {
      const auto begin = static_cast<std::size_t>(rest.data() - fixed_.data());
      asio_file_.async_read_some_at(offset, asio::buffer((*registration_)[0] + begin, rest.size()), handler);
    } else {
      asio_file_.async_read_some_at(offset, asio::buffer(rest.data(), rest.size()), handler);
    }
  }

  void arrived(Part part, const boost::system::error_code& problem, std::size_t bytes) {
    part.done += bytes;
    if (problem == asio::error::interrupted || problem == asio::error::try_again) return read_part(part);
    if (problem || bytes == 0) {
      const std::string where = file_->name() + ", offset " + std::to_string(part.request.offset);
      const std::string what = problem && problem != asio::error::eof ? "cannot read: " + problem.message()
                                                                      : "the file ends after " + std::to_string(part.done) + " of " +
                                                                            std::to_string(part.request.to.size()) + " bytes";
      done_(part.request.tag, std::make_exception_ptr(Error(ErrorKind::io, where, what)));
      return;
    }
    if (part.done < part.request.to.size()) return read_part(part);
    done_(part.request.tag, nullptr);
  }

  std::shared_ptr<File> file_;
  std::span<std::byte> fixed_;
  ReadDone done_;
  asio::io_context context_{1};
  asio::random_access_file asio_file_;
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  std::optional<asio::buffer_registration<std::vector<asio::mutable_buffer>>> registration_;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<ReadQueue> make_uring_read_queue(std::shared_ptr<File> file, std::span<std::byte> fixed, std::size_t, ReadDone done) {
  if (file->descriptor() < 0) throw Error(ErrorKind::unsupported, file->name(), "has no descriptor for asynchronous reads");
  if (!io_uring_works()) throw Error(ErrorKind::unsupported, "io_uring", "the kernel or the container refuses it", "use --io threads");
  try {
    return std::make_unique<UringReadQueue>(std::move(file), fixed, std::move(done));
  } catch (const boost::system::system_error& e) { throw Error(ErrorKind::unsupported, "io_uring", e.what(), "use --io threads"); }
}

}  // namespace leafcutter::offload
