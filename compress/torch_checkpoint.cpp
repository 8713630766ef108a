#include "compress/torch_checkpoint.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/error.h"
#include "compress/printable_text.h"

namespace leafcutter::compress {
namespace {

constexpr std::uint64_t kByteOrderBytes = 16;

constexpr std::string_view kZipMagic = "PK\x03\x04";
// A number of its own stands at the beginning of files from before 1.6: PROTO 2, LONG1 of 10 bytes.
constexpr std::string_view kLegacyMagic = "\x80\x02\x8a\x0a";

std::string beginning(File& file) {
  std::string first(std::min<std::uint64_t>(file.size(), 4), '\0');
  read_exactly(file, 0, std::as_writable_bytes(std::span(first)), "magic");
  return first;
}

std::vector<std::byte> read_bytes(File& file, std::uint64_t offset, std::uint64_t bytes, const std::string& what) {
  std::vector<std::byte> content(bytes);
  read_exactly(file, offset, content, what);
  return content;
}

std::vector<ZipEntry> read_entries(File& file) {
  const std::string& name = file.name();
  const std::uint64_t tail = std::min<std::uint64_t>(file.size(), kZipTailBytes);
  const ZipEnd end = parse_zip_end(read_bytes(file, file.size() - tail, tail, "zip end record"), file.size(), name);
  std::vector<ZipEntry> entries = parse_zip_directory(read_bytes(file, end.directory, end.bytes, "zip directory"), end, name);
  std::array<std::byte, kZipLocalBytes + ZipLimits::kNameBytes> header;
  for (ZipEntry& entry : entries) {
    const auto part = std::span(header).first(kZipLocalBytes + entry.name.size());
    read_exactly(file, entry.header, part, "entry " + printable_text(entry.name, 128));
    check_zip_local_header(entry, part, end, name);
  }
  refuse_zip_overlaps(entries, name);
  return entries;
}

const ZipEntry* find_entry(const std::vector<ZipEntry>& entries, const std::string& name) {
  const auto at =
      std::lower_bound(entries.begin(), entries.end(), name, [](const ZipEntry& e, const std::string& n) { return e.name < n; });
  return at != entries.end() && at->name == name ? &*at : nullptr;
}

// The one folder that everything lies in, with its slash.
std::string common_folder(const std::vector<ZipEntry>& entries, const std::string& file) {
  if (entries.empty()) throw Error(ErrorKind::bad_file, file, "is an empty zip archive", "is it a torch checkpoint?");
  const std::string folder = entries[0].name.substr(0, entries[0].name.find('/') + 1);
  for (const ZipEntry& entry : entries)
    if (folder.empty() || !entry.name.starts_with(folder))
      throw Error(ErrorKind::bad_file, file + ", entry " + printable_text(entry.name, 128),
                  "does not lie in one folder with the other entries", "is it a torch checkpoint?");
  return folder;
}

// The bytes of a small entry, checked against the directory's checksum.
std::vector<std::byte> content(File& file, const ZipEntry& entry, std::uint64_t limit) {
  const std::string place = file.name() + ", entry " + printable_text(entry.name, 128);
  if (entry.bytes > limit)
    throw Error(ErrorKind::bad_file, place,
                "has " + std::to_string(entry.bytes) + " bytes; at most " + std::to_string(limit) + " are read");
  std::vector<std::byte> bytes = read_bytes(file, entry.data, entry.bytes, "entry " + printable_text(entry.name, 128));
  if (zip_crc32(bytes) != entry.crc) throw Error(ErrorKind::bad_file, place, "its checksum is wrong", "the file is damaged");
  return bytes;
}

void check_byte_order(File& file, const std::vector<ZipEntry>& entries, const std::string& folder) {
  const ZipEntry* entry = find_entry(entries, folder + "byteorder");
  if (!entry) return;  // older than the entry: little, as every machine that wrote such files
  const std::vector<std::byte> bytes = content(file, *entry, kByteOrderBytes);
  const std::string_view order(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (order != "little")
    throw Error(ErrorKind::unsupported, file.name() + ", entry " + printable_text(entry->name, 128),
                "byte order " + printable_text(order, 16) + " is not served", "save the checkpoint again on a little-endian machine");
}

}  // namespace

bool looks_like_torch(File& file) {
  const std::string first = beginning(file);
  return first == kZipMagic || first == kLegacyMagic;
}

TorchCheckpoint read_torch_checkpoint(File& file) {
  const std::string& name = file.name();
  const std::string first = beginning(file);
  if (first == kLegacyMagic)
    throw Error(ErrorKind::unsupported, name, "is a torch file from before version 1.6",
                "save it again with a newer torch: torch.save(torch.load(FILE), FILE)");
  if (first != kZipMagic) throw Error(ErrorKind::bad_file, name, "is no torch checkpoint: it does not begin as a zip archive");
  const std::vector<ZipEntry> entries = read_entries(file);
  const std::string folder = common_folder(entries, name);
  const bool script = find_entry(entries, folder + "constants.pkl") ||
                      std::any_of(entries.begin(), entries.end(), [&](const ZipEntry& e) { return e.name.starts_with(folder + "code/"); });
  if (script)
    throw Error(ErrorKind::unsupported, name, "is a TorchScript archive, which holds a program",
                "save its weights: torch.save(torch.jit.load(FILE).state_dict(), FILE)");
  const ZipEntry* pickle_entry = find_entry(entries, folder + "data.pkl");
  if (!pickle_entry)
    throw Error(ErrorKind::bad_file, name, "has no entry " + printable_text(folder, 128) + "data.pkl", "is it a torch checkpoint?");
  check_byte_order(file, entries, folder);
  const std::vector<std::byte> bytes = content(file, *pickle_entry, PickleLimits::kBytes);
  const Pickle pickle = read_pickle(bytes, torch_globals(), name + ", entry " + printable_text(pickle_entry->name, 128));
  TorchCheckpoint checkpoint;
  checkpoint.tensors = torch_tensors(pickle, entries, folder, name, checkpoint.notes);
  return checkpoint;
}

}  // namespace leafcutter::compress
