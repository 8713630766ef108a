#include "base/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/error.h"

namespace leafcutter {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const std::string& where, const char* action, int code) {
  const ErrorKind kind = code == ENOENT || code == ENOTDIR ? ErrorKind::not_found : ErrorKind::io;
  const char* hint = code == ENOSPC ? "free some space and run again" : code == EACCES ? "check its permissions" : "";
  throw Error(kind, where, std::string(action) + ": " + std::strerror(code), hint);
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

class SystemFile final : public File {
 public:
  SystemFile(std::string name, int fd, bool direct) : name_(std::move(name)), fd_(fd), direct_(direct) {
    struct stat info;
    if (::fstat(fd, &info) != 0) fail(name_, "cannot look at it", errno);
    if (!S_ISREG(info.st_mode)) throw Error(ErrorKind::io, name_, "is no regular file");
    size_ = static_cast<std::uint64_t>(info.st_size);
  }

  const std::string& name() const override { return name_; }
  std::uint64_t size() const override { return size_; }
  int descriptor() const override { return fd_.get(); }
  bool direct() const override { return direct_; }

  std::size_t read_at(std::uint64_t offset, std::span<std::byte> to) override {
    for (;;) {
      const ssize_t got = ::pread(fd_.get(), to.data(), to.size(), static_cast<off_t>(offset));
      if (got >= 0) return static_cast<std::size_t>(got);
      if (errno != EINTR) fail(name_ + ", offset " + std::to_string(offset), "cannot read", errno);
    }
  }

 private:
  std::string name_;
  Descriptor fd_;
  bool direct_;
  std::uint64_t size_ = 0;
};

constexpr std::size_t kDirectPage = 4096;
constexpr const char* kTemporary = ".leafcutter-tmp";

// What killed runs left: temporaries of this target whose lock nobody holds.
void remove_leftovers(const fs::path& target) {
  const std::string prefix = "." + target.filename().string() + ".";
  std::error_code ignored;
  const fs::path folder = target.has_parent_path() ? target.parent_path() : fs::path(".");
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(prefix) || !name.ends_with(kTemporary)) continue;
    const Descriptor fd(::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (fd.get() >= 0 && ::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) ::unlink(entry.path().c_str());
  }
}

class SystemNewFile final : public NewFile {
 public:
  explicit SystemNewFile(const std::string& path) : name_(path), temporary_(temporary_of(path)), fd_(create(temporary_)) {}

  ~SystemNewFile() override {
    if (!committed_) ::unlink(temporary_.c_str());
  }

  const std::string& name() const override { return name_; }

  void write_at(std::uint64_t offset, std::span<const std::byte> bytes) override {
    while (!bytes.empty()) {
      const ssize_t put = ::pwrite(fd_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) fail(name_ + ", offset " + std::to_string(offset), "cannot write", errno);
      if (put == 0) fail(name_ + ", offset " + std::to_string(offset), "cannot write", ENOSPC);
      offset += static_cast<std::uint64_t>(put);
      bytes = bytes.subspan(static_cast<std::size_t>(put));
    }
  }

  void commit() override {
    if (::fsync(fd_.get()) != 0) fail(name_, "cannot sync", errno);
    if (::rename(temporary_.c_str(), name_.c_str()) != 0) fail(name_, "cannot rename the finished file", errno);
    committed_ = true;
    const fs::path target(name_);
    const std::string folder = target.has_parent_path() ? target.parent_path().string() : ".";
    const Descriptor directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (directory.get() >= 0 && ::fsync(directory.get()) != 0 && errno != EINVAL) fail(folder, "cannot sync the folder", errno);
  }

 private:
  static std::string temporary_of(const std::string& path) {
    const fs::path target(path);
    static int count = 0;
    const std::string name =
        "." + target.filename().string() + "." + std::to_string(::getpid()) + "-" + std::to_string(count++) + kTemporary;
    return (target.parent_path() / name).string();
  }

  int create(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0) fail(name_, "cannot create", errno);
    ::flock(fd, LOCK_EX | LOCK_NB);  // tells other runs that this temporary is alive
    return fd;
  }

  std::string name_;
  std::string temporary_;
  Descriptor fd_;
  bool committed_ = false;
};

}  // namespace

void read_exactly(File& file, std::uint64_t offset, std::span<std::byte> to, const std::string& what) {
  std::size_t done = 0;
  while (done < to.size()) {
    const std::size_t got = file.read_at(offset + done, to.subspan(done));
    done += got;
    // A direct read that stops within a page has met the end of the file, and could not be continued from there.
    if (got == 0 || (file.direct() && done < to.size() && done % kDirectPage != 0))
      throw Error(ErrorKind::io, file.name() + ", " + what + ", offset " + std::to_string(offset),
                  "the file ends after " + std::to_string(done) + " of " + std::to_string(to.size()) + " bytes",
                  "was it changed while open?");
  }
}

std::shared_ptr<File> open_file(const std::string& path, FileAccess access) {
  const int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;  // a FIFO must not hang us; regular files do not mind
  bool direct = access == FileAccess::direct;
  int fd = ::open(path.c_str(), flags | (direct ? O_DIRECT : 0));
  if (fd < 0 && direct && errno == EINVAL) {
    direct = false;
    fd = ::open(path.c_str(), flags);
  }
  if (fd < 0) fail(path, "cannot open", errno);
  return std::make_shared<SystemFile>(path, fd, direct);
}

std::unique_ptr<NewFile> create_file(const std::string& path) {
  if (path.empty()) throw Error(ErrorKind::usage, "output", "its name is empty");
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) throw Error(ErrorKind::io, path, "is a folder, not a file name");
  remove_leftovers(path);
  return std::make_unique<SystemNewFile>(path);
}

}  // namespace leafcutter
