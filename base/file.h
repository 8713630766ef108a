// All access to files goes through these two small interfaces, so that tests can inject short reads, errors and delays, and
// so that links can be throttled. The implementations over system calls are made by the functions at the end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace leafcutter {

// A file open for reading. read_at may be called from several threads at once.
class File {
 public:
  virtual ~File() = default;
  // For messages; never parsed.
  virtual const std::string& name() const = 0;
  // Bytes, taken once at opening: a file that changes its size later gives an error where it is read, never a SIGBUS.
  virtual std::uint64_t size() const = 0;
  // Reads up to to.size() bytes from offset; gives how many came, at least 1 unless offset is at the end or to is empty.
  // May read less than asked. Throws Error(io).
  virtual std::size_t read_at(std::uint64_t offset, std::span<std::byte> to) = 0;
  // The descriptor for asynchronous reads, or -1 where only read_at serves (tests, throttled links).
  virtual int descriptor() const { return -1; }
  // True when offset, length and address of every read must be multiples of 4096 (O_DIRECT).
  virtual bool direct() const { return false; }
};

// Reads exactly to.size() bytes. Throws Error(io) naming file, offset, what was to be read and how many bytes came.
void read_exactly(File& file, std::uint64_t offset, std::span<std::byte> to, const std::string& what);

// A file that comes to be under its final name only when it is whole: written to a sibling temporary, synced, renamed, the
// folder synced. Destroyed before commit(), it leaves nothing behind and an old target untouched. Not thread-safe.
class NewFile {
 public:
  virtual ~NewFile() = default;
  virtual const std::string& name() const = 0;
  // Writes all of the bytes at offset (holes become zeros). Throws Error(io) naming file, offset and the system's reason.
  virtual void write_at(std::uint64_t offset, std::span<const std::byte> bytes) = 0;
  virtual void commit() = 0;
};

enum class FileAccess { buffered, direct };

// direct falls back to buffered where the file system refuses O_DIRECT; File::direct() tells. Throws Error(not_found | io).
std::shared_ptr<File> open_file(const std::string& path, FileAccess access = FileAccess::buffered);

// First removes what killed runs left beside `path` (temporaries of this program for this target that no live process holds).
std::unique_ptr<NewFile> create_file(const std::string& path);

}  // namespace leafcutter
