// Property: a zip whose directory is accepted has entries that lie before the directory and share no byte, or it gives an Error; never more.
#include <algorithm>
#include <cstdlib>

#include "base/error.h"
#include "compress/zip_directory.h"

using namespace leafcutter::compress;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    const ZipEnd end = parse_zip_end(bytes.last(std::min(size, kZipTailBytes)), size, "fuzz.pt");
    if (end.directory > size || end.bytes > size - end.directory) std::abort();
    std::vector<ZipEntry> entries = parse_zip_directory(bytes.subspan(end.directory, end.bytes), end, "fuzz.pt");
    for (ZipEntry& entry : entries)
      check_zip_local_header(entry, bytes.subspan(entry.header, kZipLocalBytes + entry.name.size()), end, "fuzz.pt");
    refuse_zip_overlaps(entries, "fuzz.pt");
    for (const ZipEntry& entry : entries)
      if (entry.data > end.directory || entry.bytes > end.directory - entry.data) std::abort();
    std::sort(entries.begin(), entries.end(), [](const ZipEntry& a, const ZipEntry& b) { return a.data < b.data; });
    for (std::size_t i = 1; i < entries.size(); i++)
      if (entries[i - 1].data + entries[i - 1].bytes > entries[i].header) std::abort();
  } catch (const leafcutter::Error&) {}
  return 0;
}
