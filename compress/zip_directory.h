// The directory of a zip or zip64 archive whose entries are stored, not compressed, as torch.save writes it. Bytes in, facts out; no I/O.
// Source: the .ZIP file format specification (APPNOTE 6.3).
//
// Stricter than unpackers are: no comment at the end, nothing before the first or between directory and end, no name twice, no two entries that share bytes, and
// the header before each entry agrees with the directory, so that no two readers can see different archives.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace leafcutter::compress {

struct ZipLimits {
  static constexpr std::uint64_t kDirectoryBytes = 8u << 20;
  static constexpr std::uint64_t kEntries = 65'536;
  static constexpr std::size_t kNameBytes = 512;
};

constexpr std::size_t kZipTailBytes = 22 + 20 + 56;  // end record, zip64 locator, zip64 end record
constexpr std::size_t kZipLocalBytes = 30;           // of the header before an entry's bytes, without its name

struct ZipEnd {
  std::uint64_t directory = 0;  // offset
  std::uint64_t bytes = 0;
  std::uint64_t entries = 0;
};

struct ZipEntry {
  std::string name;          // a relative path of printable UTF-8 without "..", checked
  std::uint64_t header = 0;  // offset of its local header
  std::uint64_t bytes = 0;
  std::uint64_t data = 0;  // offset of its bytes; set by check_zip_local_header
  std::uint32_t crc = 0;
  std::uint16_t flags = 0;
};

// Where the directory lies. tail: the last min(file_bytes, kZipTailBytes) bytes. All functions throw Error(bad_file | unsupported) naming file, entry, what was found.
ZipEnd parse_zip_end(std::span<const std::byte> tail, std::uint64_t file_bytes, const std::string& file);

// The entries, sorted by name. directory: end.bytes bytes at end.directory. Every entry, its local header included, ends before the directory.
std::vector<ZipEntry> parse_zip_directory(std::span<const std::byte> directory, const ZipEnd& end, const std::string& file);

// Compares the header before the entry's bytes with the directory and sets entry.data. header: kZipLocalBytes + entry.name.size() bytes at entry.header.
void check_zip_local_header(ZipEntry& entry, std::span<const std::byte> header, const ZipEnd& end, const std::string& file);

// After all local headers: no two entries share a byte.
void refuse_zip_overlaps(std::span<const ZipEntry> entries, const std::string& file);

// What the directory keeps for each entry (CRC-32 as in ISO 3309).
std::uint32_t zip_crc32(std::span<const std::byte> bytes);

}  // namespace leafcutter::compress
