#include "compress/zip_directory.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "base/checked.h"
#include "base/error.h"
#include "compress/printable_text.h"

namespace leafcutter::compress {
namespace {

constexpr std::uint32_t kLocalSignature = 0x04034b50, kEntrySignature = 0x02014b50, kEndSignature = 0x06054b50,
                        kEnd64Signature = 0x06064b50, kLocatorSignature = 0x07064b50;
constexpr std::size_t kEndBytes = 22, kLocatorBytes = 20, kEnd64Bytes = 56, kEntryBytes = 46;
constexpr std::uint16_t kFull16 = 0xffff;  // look into the zip64 record
constexpr std::uint32_t kFull32 = 0xffffffff;
constexpr std::uint16_t kZip64Extra = 1;
constexpr std::uint16_t kEncrypted = 1, kSizesBehind = 8, kUtf8 = 0x800;
constexpr std::uint16_t kStored = 0;

[[noreturn]] void refuse(const std::string& file, const std::string& place, const std::string& problem) {
  throw Error(ErrorKind::bad_file, place.empty() ? file : file + ", " + place, problem, "the file is damaged or no torch checkpoint");
}

std::string entry_place(std::string_view name) { return "entry " + printable_text(name, 128); }

// Fields one after another; the caller has checked that they are there.
class Fields {
 public:
  explicit Fields(std::span<const std::byte> bytes) : bytes_(bytes) {}

  template <class T>
  T take() {
    T value;
    std::memcpy(&value, bytes_.data(), sizeof value);
    bytes_ = bytes_.subspan(sizeof value);
    return value;
  }
  std::uint16_t u16() { return take<std::uint16_t>(); }
  std::uint32_t u32() { return take<std::uint32_t>(); }
  std::uint64_t u64() { return take<std::uint64_t>(); }
  std::span<const std::byte> bytes(std::size_t n) {
    const auto part = bytes_.first(n);
    bytes_ = bytes_.subspan(n);
    return part;
  }
  std::size_t left() const { return bytes_.size(); }

 private:
  std::span<const std::byte> bytes_;
};

// A field of the end record is the zip64 record's, or says that it does not fit.
void agree(std::uint64_t small, std::uint64_t full, std::uint64_t large, const char* what, const std::string& file) {
  if (small != full && small != large)
    refuse(file, "zip64 end record", std::string(what) + " " + std::to_string(large) + ", the end record says " + std::to_string(small));
}

ZipEnd parse_end64(std::span<const std::byte> tail, std::uint64_t at, const ZipEnd& small, const std::string& file) {
  // Behind the record lie the locator and the end record, and the locator must point at it.
  const std::string place = "zip64 end record";
  Fields locator(tail.subspan(tail.size() - kEndBytes - kLocatorBytes, kLocatorBytes));
  locator.u32();
  const std::uint32_t disk = locator.u32();
  const std::uint64_t offset = locator.u64();
  const std::uint32_t disks = locator.u32();
  if (disk != 0 || disks != 1) refuse(file, place, "an archive of several parts");
  if (tail.size() < kZipTailBytes || offset != at)
    refuse(file, place, "expected at offset " + std::to_string(at) + ", the locator says " + std::to_string(offset));
  Fields record(tail.first(kEnd64Bytes));
  if (record.u32() != kEnd64Signature) refuse(file, place, "has no signature");
  if (const std::uint64_t bytes = record.u64(); bytes != kEnd64Bytes - 12)
    refuse(file, place, "has " + std::to_string(bytes) + " bytes, expected " + std::to_string(kEnd64Bytes - 12));
  record.u16(), record.u16();  // versions
  if (record.u32() != 0 || record.u32() != 0) refuse(file, place, "an archive of several parts");
  const std::uint64_t here = record.u64(), entries = record.u64(), bytes = record.u64(), directory = record.u64();
  if (here != entries) refuse(file, place, "an archive of several parts");
  agree(small.entries, kFull16, entries, "entries", file);
  agree(small.bytes, kFull32, bytes, "directory bytes", file);
  agree(small.directory, kFull32, directory, "directory offset", file);
  return {.directory = directory, .bytes = bytes, .entries = entries};
}

// The sizes and the offset that did not fit 32 bits, in this order, each only where its field is full.
void take_zip64_extra(std::span<const std::byte> extra, ZipEntry& entry, std::uint64_t& stored, const std::string& file) {
  std::optional<Fields> zip64;
  Fields fields(extra);
  while (fields.left() > 0) {
    if (fields.left() < 4) refuse(file, entry_place(entry.name), "an extra field is cut short");
    const std::uint16_t id = fields.u16(), bytes = fields.u16();
    if (bytes > fields.left()) refuse(file, entry_place(entry.name), "an extra field is cut short");
    const auto content = fields.bytes(bytes);
    if (id != kZip64Extra) continue;
    if (zip64) refuse(file, entry_place(entry.name), "two zip64 fields");
    zip64 = Fields(content);
  }
  for (std::uint64_t* field : {&entry.bytes, &stored, &entry.header}) {
    if (*field != kFull32) continue;
    if (!zip64 || zip64->left() < 8) refuse(file, entry_place(entry.name), "its zip64 field is missing or cut short");
    *field = zip64->u64();
  }
}

void check_name(std::string_view name, const std::string& file) {
  const auto bad = [&](const char* problem) { refuse(file, entry_place(name), problem); };
  if (name.empty()) bad("an entry without a name");
  if (!is_printable_text(name)) bad("its name is no printable UTF-8");
  if (name.front() == '/' || name.find('\\') != name.npos || name.find(':') != name.npos) bad("its name is no relative path");
  for (std::string_view rest = name; !rest.empty();) {
    const std::size_t slash = rest.find('/');
    const std::string_view part = rest.substr(0, slash);
    if (part.empty() || part == "." || part == "..") bad("its name is no plain relative path");
    rest = slash == rest.npos ? std::string_view() : rest.substr(slash + 1);
  }
}

void check_kind(std::uint16_t flags, std::uint16_t method, const ZipEntry& entry, const std::string& file) {
  const std::string place = file + ", " + entry_place(entry.name);
  if (flags & kEncrypted) throw Error(ErrorKind::unsupported, place, "is encrypted", "save the checkpoint again with torch.save");
  if (flags & ~(kSizesBehind | kUtf8)) throw Error(ErrorKind::unsupported, place, "has flags " + std::to_string(flags));
  if (method != kStored)
    throw Error(ErrorKind::unsupported, place, "is compressed (method " + std::to_string(method) + "); only stored entries are read",
                "torch.save stores them; TorchScript archives, which do not, hold a program and are not served");
}

// The entry at the front of `fields`.
ZipEntry take_entry(Fields& fields, const ZipEnd& end, const std::string& file, std::uint64_t number) {
  const std::string place = "zip directory, entry " + std::to_string(number);
  if (fields.left() < kEntryBytes || fields.u32() != kEntrySignature) refuse(file, place, "has no signature");
  fields.u16(), fields.u16();  // versions
  ZipEntry entry;
  entry.flags = fields.u16();
  const std::uint16_t method = fields.u16();
  fields.u32();  // time and date
  entry.crc = fields.u32();
  std::uint64_t stored = fields.u32();
  entry.bytes = fields.u32();
  const std::uint16_t name = fields.u16(), extra = fields.u16(), comment = fields.u16(), disk = fields.u16();
  fields.u16(), fields.u32();  // attributes
  entry.header = fields.u32();
  if (std::size_t{name} + extra + comment > fields.left()) refuse(file, place, "goes on past the directory");
  if (name > ZipLimits::kNameBytes)
    refuse(file, place, "a name of " + std::to_string(name) + " bytes; at most " + std::to_string(ZipLimits::kNameBytes) + " are allowed");
  const auto text = fields.bytes(name);
  entry.name.assign(reinterpret_cast<const char*>(text.data()), text.size());
  check_name(entry.name, file);
  check_kind(entry.flags, method, entry, file);
  take_zip64_extra(fields.bytes(extra), entry, stored, file);
  fields.bytes(comment);
  if (disk != 0) refuse(file, entry_place(entry.name), "lies in another part of the archive");
  if (stored != entry.bytes)
    refuse(file, entry_place(entry.name), "stored in " + std::to_string(stored) + " bytes, but has " + std::to_string(entry.bytes));
  const auto data = checked_add(entry.header, kZipLocalBytes + entry.name.size());
  const auto after = data ? checked_add(*data, entry.bytes) : data;
  if (!after || *after > end.directory)
    refuse(file, entry_place(entry.name),
           "offset " + std::to_string(entry.header) + " and " + std::to_string(entry.bytes) + " bytes do not lie before the directory at " +
               std::to_string(end.directory));
  return entry;
}

constexpr std::array<std::uint32_t, 256> kCrcTable = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < table.size(); i++) {
    std::uint32_t c = i;
    for (int bit = 0; bit < 8; bit++) c = c & 1 ? c >> 1 ^ 0xedb88320u : c >> 1;
    table[i] = c;
  }
  return table;
}();

}  // namespace

ZipEnd parse_zip_end(std::span<const std::byte> tail, std::uint64_t file_bytes, const std::string& file) {
  if (tail.size() < kEndBytes) refuse(file, "", "has " + std::to_string(file_bytes) + " bytes, no zip archive");
  Fields fields(tail.last(kEndBytes));
  if (fields.u32() != kEndSignature) refuse(file, "", "does not end with a zip directory: it is cut short, or has a comment behind it");
  const std::uint16_t disk = fields.u16(), directory_disk = fields.u16(), here = fields.u16(), entries = fields.u16();
  const std::uint32_t bytes = fields.u32(), directory = fields.u32();
  const std::uint16_t comment = fields.u16();
  if (comment != 0) refuse(file, "zip end record", "a comment of " + std::to_string(comment) + " bytes behind the end");
  if ((disk != 0 && disk != kFull16) || (directory_disk != 0 && directory_disk != kFull16) || here != entries)
    refuse(file, "zip end record", "an archive of several parts");
  ZipEnd end{.directory = directory, .bytes = bytes, .entries = entries};
  std::uint64_t behind = file_bytes - kEndBytes;  // the directory ends here
  bool zip64 = false;
  if (tail.size() >= kEndBytes + kLocatorBytes) {
    std::uint32_t signature;
    std::memcpy(&signature, tail.data() + tail.size() - kEndBytes - kLocatorBytes, sizeof signature);
    zip64 = signature == kLocatorSignature;
  }
  if (zip64) {
    if (behind < kLocatorBytes + kEnd64Bytes) refuse(file, "zip64 end record", "the file is too short for it");
    behind -= kLocatorBytes + kEnd64Bytes;
    end = parse_end64(tail, behind, end, file);
  }
  if (end.directory > behind || end.bytes != behind - end.directory)
    refuse(file, "zip end record",
           "directory of " + std::to_string(end.bytes) + " bytes at offset " + std::to_string(end.directory) + ", expected to end at " +
               std::to_string(behind));
  if (end.bytes > ZipLimits::kDirectoryBytes || end.entries > ZipLimits::kEntries || end.entries > end.bytes / kEntryBytes)
    refuse(file, "zip end record",
           std::to_string(end.entries) + " entries in a directory of " + std::to_string(end.bytes) + " bytes; at most " +
               std::to_string(ZipLimits::kEntries) + " in " + std::to_string(ZipLimits::kDirectoryBytes) + " are read");
  return end;
}

std::vector<ZipEntry> parse_zip_directory(std::span<const std::byte> directory, const ZipEnd& end, const std::string& file) {
  std::vector<ZipEntry> entries;
  entries.reserve(end.entries);
  Fields fields(directory);
  for (std::uint64_t i = 0; i < end.entries; i++) entries.push_back(take_entry(fields, end, file, i));
  if (fields.left() > 0)
    refuse(file, "zip directory", std::to_string(fields.left()) + " bytes behind its " + std::to_string(end.entries) + " entries");
  std::sort(entries.begin(), entries.end(), [](const ZipEntry& a, const ZipEntry& b) { return a.name < b.name; });
  for (std::size_t i = 1; i < entries.size(); i++)
    if (entries[i].name == entries[i - 1].name) refuse(file, entry_place(entries[i].name), "comes twice");
  return entries;
}

void check_zip_local_header(ZipEntry& entry, std::span<const std::byte> header, const ZipEnd& end, const std::string& file) {
  const auto differs = [&](const char* what) {
    refuse(file, entry_place(entry.name) + ", offset " + std::to_string(entry.header), std::string(what) + " differs from the directory's");
  };
  Fields fields(header);
  if (fields.u32() != kLocalSignature)
    refuse(file, entry_place(entry.name) + ", offset " + std::to_string(entry.header), "no entry begins there");
  fields.u16();  // version
  const std::uint16_t flags = fields.u16(), method = fields.u16();
  fields.u32();  // time and date
  const std::uint32_t crc = fields.u32(), stored = fields.u32(), bytes = fields.u32();
  const std::uint16_t name = fields.u16(), extra = fields.u16();
  if (flags != entry.flags || method != kStored) differs("its kind");
  const auto text = name == entry.name.size() ? fields.bytes(name) : std::span<const std::byte>();
  if (std::string_view(reinterpret_cast<const char*>(text.data()), text.size()) != entry.name) differs("its name");
  // Written before the sizes were known, the header may have zeros; above 4 GiB it says that another field has them.
  const bool behind = flags & kSizesBehind;
  const auto agrees = [&](std::uint32_t size) { return size == entry.bytes || size == kFull32 || (behind && size == 0); };
  if (!agrees(stored) || !agrees(bytes)) differs("its size");
  if (crc != entry.crc && !(behind && crc == 0)) differs("its checksum");
  entry.data = entry.header + kZipLocalBytes + name + extra;
  if (entry.data > end.directory || entry.bytes > end.directory - entry.data)
    refuse(file, entry_place(entry.name),
           std::to_string(entry.bytes) + " bytes at offset " + std::to_string(entry.data) + " do not lie before the directory at " +
               std::to_string(end.directory));
}

void refuse_zip_overlaps(std::span<const ZipEntry> entries, const std::string& file) {
  std::vector<const ZipEntry*> by_offset;
  for (const ZipEntry& entry : entries) by_offset.push_back(&entry);
  std::sort(by_offset.begin(), by_offset.end(), [](const ZipEntry* a, const ZipEntry* b) { return a->header < b->header; });
  for (std::size_t i = 1; i < by_offset.size(); i++)
    if (by_offset[i]->header < by_offset[i - 1]->data + by_offset[i - 1]->bytes) {
      // Two that begin together: name them in the order of their names.
      const ZipEntry *first = by_offset[i - 1], *second = by_offset[i];
      if (first->header == second->header && second < first) std::swap(first, second);
      refuse(file, entry_place(second->name), "overlaps " + entry_place(first->name));
    }
}

std::uint32_t zip_crc32(std::span<const std::byte> bytes) {
  std::uint32_t crc = ~0u;
  for (const std::byte b : bytes) crc = kCrcTable[(crc ^ std::to_integer<std::uint32_t>(b)) & 255] ^ crc >> 8;
  return ~crc;
}

}  // namespace leafcutter::compress
