#include "compress/zip_directory.h"

#include <doctest/doctest.h>

#include <functional>

#include "tests/compress/torch_bytes.h"
#include "tests/support/expect_error.h"

using namespace leafcutter;
using namespace leafcutter::compress;
using namespace leafcutter::compress::test;

namespace {

std::vector<ZipEntry> read(const std::string& file) {
  const auto bytes = std::as_bytes(std::span(file));
  const ZipEnd end = parse_zip_end(bytes.last(std::min(bytes.size(), kZipTailBytes)), bytes.size(), "model.pt");
  std::vector<ZipEntry> entries = parse_zip_directory(bytes.subspan(end.directory, end.bytes), end, "model.pt");
  for (ZipEntry& entry : entries)
    check_zip_local_header(entry, bytes.subspan(entry.header, kZipLocalBytes + entry.name.size()), end, "model.pt");
  refuse_zip_overlaps(entries, "model.pt");
  return entries;
}

ZipBytes two() { return ZipBytes().add("a/x", "first").add("a/y", "second one"); }

// What lies where in a local header and in a directory entry.
constexpr std::size_t kLocalFlags = 6, kLocalMethod = 8, kLocalCrc = 14, kLocalStored = 18, kLocalBytes = 22, kLocalName = 26,
                      kLocalExtra = 28;
constexpr std::size_t kFlags = 8, kMethod = 10, kStored = 20, kBytes = 24, kName = 28, kExtra = 30, kComment = 32, kDisk = 34, kOffset = 42;

using Bend = std::function<void(std::string&, ZipBytes&)>;

std::string bent(const Bend& bend, bool zip64_end) {
  ZipBytes zip = two();
  zip.zip64_end = zip64_end;
  std::string file = zip.file();
  bend(file, zip);
  return file;
}

std::string with(const std::function<void(ZipBytes&)>& change) {
  ZipBytes zip = two();
  change(zip);
  return zip.file();
}

struct BadZip {
  std::string name;
  std::function<std::string()> file;
  std::vector<std::string> parts;
};

template <class T>
BadZip field(const char* name, std::size_t ZipBytes::Entry::*where, std::size_t at, T value, std::vector<std::string> parts) {
  return {name, [=] { return bent([=](std::string& f, ZipBytes& z) { patch(f, z.entries[1].*where + at, value); }, false); },
          std::move(parts)};
}

template <class T>
BadZip end_field(const char* name, std::size_t ZipBytes::*where, std::size_t at, T value, std::vector<std::string> parts) {
  return {name, [=] { return bent([=](std::string& f, ZipBytes& z) { patch(f, z.*where + at, value); }, true); }, std::move(parts)};
}

BadZip named(const char* name, const std::string& entry, std::vector<std::string> parts) {
  return {name, [=] { return with([&](ZipBytes& z) { z.entries[1].name = entry; }); }, std::move(parts)};
}

constexpr auto kLocal = &ZipBytes::Entry::local_at, kCentral = &ZipBytes::Entry::central_at;

const BadZip kBadArchives[] = {
    {"nothing", [] { return std::string(); }, {"0 bytes"}},
    {"some text", [] { return std::string(200, 'x'); }, {"does not end with a zip directory"}},
    {"a comment",
     [] { return bent([](std::string& f, ZipBytes& z) { patch(f, z.end_at + 20, std::uint16_t{3}), f += "abc"; }, false); },
     {"comment"}},
    {"bytes behind the end", [] { return two().file() + "x"; }, {"does not end"}},
    {"bytes before the first entry", [] { return "x" + two().file(); }, {"zip64 end record"}},
    {"bytes before the first entry of a plain zip",
     [] { return "x" + bent([](std::string&, ZipBytes&) {}, false); },
     {"expected to end at"}},
    end_field("a comment's length without a comment", &ZipBytes::end_at, 20, std::uint16_t{1}, {"comment"}),
    end_field("another disk", &ZipBytes::end_at, 4, std::uint16_t{1}, {"several parts"}),
    end_field("a directory on another disk", &ZipBytes::end_at, 6, std::uint16_t{2}, {"several parts"}),
    end_field("entries on other disks", &ZipBytes::end_at, 8, std::uint16_t{1}, {"several parts"}),
    end_field("the end record disagrees about the directory", &ZipBytes::end_at, 16, std::uint32_t{7}, {"the end record says 7"}),
    end_field("the end record disagrees about its size", &ZipBytes::end_at, 12, std::uint32_t{9}, {"the end record says 9"}),
    end_field("a locator to elsewhere", &ZipBytes::locator_at, 8, std::uint64_t{3}, {"the locator says 3"}),
    end_field("a locator past 2^63", &ZipBytes::locator_at, 8, ~std::uint64_t{0}, {"the locator says"}),
    end_field("a locator of two disks", &ZipBytes::locator_at, 16, std::uint32_t{2}, {"several parts"}),
    end_field("no zip64 record", &ZipBytes::end64_at, 0, std::uint32_t{0}, {"has no signature"}),
    end_field("a long zip64 record", &ZipBytes::end64_at, 4, std::uint64_t{1} << 40, {"expected 44"}),
    end_field("a negative zip64 record", &ZipBytes::end64_at, 4, ~std::uint64_t{0}, {"expected 44"}),
    end_field("zip64 entries that disagree", &ZipBytes::end64_at, 24, std::uint64_t{1}, {"several parts"}),
    end_field("a zip64 directory past the file", &ZipBytes::end64_at, 48, std::uint64_t{1} << 60, {"the end record says"}),
    {"a full end record without zip64",
     [] { return bent([](std::string& f, ZipBytes& z) { patch(f, z.end_at + 16, ~std::uint32_t{0}); }, false); },
     {"expected to end at"}},
    {"2^64 - 1 entries",
     [] {
       return bent(
           [](std::string& f, ZipBytes& z) {
             patch(f, z.end_at + 8, ~std::uint32_t{0});
             patch(f, z.end64_at + 24, ~std::uint64_t{0});
             patch(f, z.end64_at + 32, ~std::uint64_t{0});
           },
           true);
     },
     {"18446744073709551615 entries"}},
    {"a count that the directory cannot hold",
     [] { return bent([](std::string& f, ZipBytes& z) { patch(f, z.end_at + 8, std::uint32_t{0x00090009}); }, false); },
     {"9 entries"}},
    {"one entry less than there are",
     [] { return bent([](std::string& f, ZipBytes& z) { patch(f, z.end_at + 8, std::uint32_t{0x00010001}); }, false); },
     {"behind its 1 entries"}},
    field("no signature in the directory", kCentral, 0, std::uint32_t{0}, {"entry 1", "no signature"}),
    field("a name past the directory", kCentral, kName, std::uint16_t{600}, {"entry 1", "past the directory"}),
    field("an extra field past the directory", kCentral, kExtra, std::uint16_t{600}, {"past the directory"}),
    field("an entry's comment past the directory", kCentral, kComment, std::uint16_t{0xffff}, {"past the directory"}),
    field("an entry on another disk", kCentral, kDisk, std::uint16_t{1}, {"a/y", "another part"}),
    field("an encrypted entry", kCentral, kFlags, std::uint16_t{1}, {"a/y", "encrypted"}),
    field("flags that are not known", kCentral, kFlags, std::uint16_t{0x2000}, {"a/y", "flags 8192"}),
    field("a deflated entry", kCentral, kMethod, std::uint16_t{8}, {"a/y", "method 8"}),
    field("a zstd entry", kCentral, kMethod, std::uint16_t{93}, {"a/y", "method 93"}),
    field("a bomb: larger than stored", kCentral, kBytes, std::uint32_t{1} << 30, {"a/y", "stored in 10 bytes"}),
    field("stored larger than it is", kCentral, kStored, std::uint32_t{1} << 30, {"a/y", "but has 10"}),
    field("an offset past the directory", kCentral, kOffset, std::uint32_t{1} << 30, {"a/y", "before the directory"}),
    field("an offset without a zip64 field", kCentral, kOffset, ~std::uint32_t{0}, {"a/y", "zip64 field is missing"}),
    field("sizes without a zip64 field", kCentral, kBytes, ~std::uint32_t{0}, {"a/y", "zip64 field is missing"}),
    field("an offset into another entry's bytes", kCentral, kOffset, std::uint32_t{2}, {"a/y", "no entry begins there"}),
    field("the offset of another entry", kCentral, kOffset, std::uint32_t{0}, {"a/y", "name differs"}),
    field("no signature before the bytes", kLocal, 0, std::uint32_t{0}, {"a/y", "no entry begins there"}),
    field("other flags before the bytes", kLocal, kLocalFlags, std::uint16_t{0x800}, {"a/y", "kind differs"}),
    field("another method before the bytes", kLocal, kLocalMethod, std::uint16_t{8}, {"a/y", "kind differs"}),
    field("another checksum before the bytes", kLocal, kLocalCrc, std::uint32_t{1}, {"a/y", "checksum differs"}),
    field("another stored size before the bytes", kLocal, kLocalStored, std::uint32_t{4}, {"a/y", "size differs"}),
    field("another size before the bytes", kLocal, kLocalBytes, std::uint32_t{0}, {"a/y", "size differs"}),
    field("a shorter name before the bytes", kLocal, kLocalName, std::uint16_t{2}, {"a/y", "name differs"}),
    field("a longer name before the bytes", kLocal, kLocalName, std::uint16_t{0xffff}, {"a/y", "name differs"}),
    field("another name before the bytes", kLocal, kZipLocalBytes, 'b', {"a/y", "name differs"}),
    field("an extra field that moves the bytes into the directory", kLocal, kLocalExtra, std::uint16_t{5}, {"a/y", "before the directory"}),
    {"an extra field that moves the bytes into the next entry",
     [] { return bent([](std::string& f, ZipBytes& z) { patch(f, z.entries[0].local_at + kLocalExtra, std::uint16_t{7}); }, false); },
     {"a/y", "overlaps", "a/x"}},
    named("a name twice", "a/x", {"a/x", "comes twice"}),
    named("no name", "", {"without a name"}),
    named("an absolute name", "/etc/passwd", {"/etc/passwd", "no relative path"}),
    named("a name that climbs", "a/../../x", {"a/../../x", "plain relative path"}),
    named("a name that is ..", "..", {"plain relative path"}),
    named("a name with a dot folder", "a/./x", {"plain relative path"}),
    named("a name with an empty folder", "a//x", {"plain relative path"}),
    named("a name with a backslash", "a\\..\\x", {"no relative path"}),
    named("a name with a drive", "C:x", {"no relative path"}),
    named("a name with a NUL", std::string("a/x\0y", 5), {"no printable UTF-8"}),
    named("a name with an escape", "a/\x1b[2J", {"no printable UTF-8"}),
    named("a name that is no UTF-8", "a/\xff", {"no printable UTF-8"}),
    named("a name of 600 bytes", std::string(600, 'n'), {"a name of 600 bytes"}),
};

}  // namespace

TEST_CASE("a zip's entries come sorted by name, with the place of their bytes, in each way of writing sizes") {
  for (int way = 0; way < 8; way++) {
    CAPTURE(way);
    ZipBytes zip = ZipBytes().add("a/z", "last").add("a/b", "").add("a/m", "middle");
    zip.zip64_end = way & 1;
    zip.alignment = way & 4 ? 64 : 1;
    for (ZipBytes::Entry& e : zip.entries) (way & 2 ? e.zip64 : e.sizes_behind) = true;
    const std::string file = zip.file();
    const std::vector<ZipEntry> entries = read(file);
    REQUIRE(entries.size() == 3);
    CHECK(entries[0].name == "a/b");
    CHECK(entries[1].name == "a/m");
    CHECK(entries[2].name == "a/z");
    CHECK(file.substr(entries[0].data, entries[0].bytes) == "");
    CHECK(file.substr(entries[1].data, entries[1].bytes) == "middle");
    CHECK(file.substr(entries[2].data, entries[2].bytes) == "last");
    if (way & 4) CHECK(entries[1].data % 64 == 0);
  }
}

TEST_CASE("an archive past 4 GiB is read by its zip64 fields") {
  // Only tail and directory exist; the bytes before are told of.
  constexpr std::uint64_t kBig = std::uint64_t{20} << 30;
  const auto fields = [](auto... values) { return (raw_bytes(values) + ...); };
  const auto entry = [&](const std::string& name, std::uint64_t offset, std::uint64_t bytes) {
    return fields(0x02014b50u, std::uint16_t{45}, std::uint16_t{45}, std::uint16_t{0}, std::uint16_t{0}, 0u, 0u, ~0u, ~0u,
                  static_cast<std::uint16_t>(name.size()), std::uint16_t{28}, std::uint16_t{0}, std::uint16_t{0}, std::uint16_t{0}, 0u,
                  ~0u) +
           name + fields(std::uint16_t{1}, std::uint16_t{24}, bytes, bytes, offset);
  };
  const std::string directory = entry("a/0", 0, kBig - 100) + entry("a/1", kBig, 100);
  const std::uint64_t at = kBig + 1000, end64 = at + directory.size();
  const std::string tail =
      fields(0x06064b50u, std::uint64_t{44}, std::uint16_t{45}, std::uint16_t{45}, 0u, 0u, std::uint64_t{2}, std::uint64_t{2},
             static_cast<std::uint64_t>(directory.size()), at) +
      fields(0x07064b50u, 0u, end64, 1u) +
      fields(0x06054b50u, std::uint16_t{0}, std::uint16_t{0}, std::uint16_t{0xffff}, std::uint16_t{0xffff}, ~0u, ~0u, std::uint16_t{0});
  REQUIRE(tail.size() == kZipTailBytes);
  const ZipEnd end = parse_zip_end(std::as_bytes(std::span(tail)), end64 + tail.size(), "model.pt");
  CHECK(end.directory == at);
  const std::vector<ZipEntry> entries = parse_zip_directory(std::as_bytes(std::span(directory)), end, "model.pt");
  REQUIRE(entries.size() == 2);
  CHECK(entries[0].bytes == kBig - 100);
  CHECK(entries[1].header == kBig);
}

TEST_CASE("a zip that two readers could understand in two ways, or that lies, is refused with entry and reason") {
  for (const BadZip& bad : kBadArchives) {
    CAPTURE(bad.name);
    const std::string file = bad.file();
    leafcutter::test::expect_error([&] { read(file); }, {"model.pt"});
    for (const std::string& part : bad.parts) leafcutter::test::expect_error([&] { read(file); }, {part});
  }
}

TEST_CASE("zip64 fields that are cut short or come twice are refused") {
  ZipBytes zip = two();
  zip.entries[1].zip64 = true;
  const std::string good = zip.file();
  REQUIRE(read(good).size() == 2);
  const std::size_t extra = zip.entries[1].central_at + 46 + 3;
  std::string file = good;
  patch(file, extra + 2, std::uint16_t{100});
  leafcutter::test::expect_error([&] { read(file); }, {"a/y", "cut short"});
  file = good;
  patch(file, extra + 2, std::uint16_t{22});  // leaves two bytes that are no field
  leafcutter::test::expect_error([&] { read(file); }, {"a/y", "cut short"});
  file = good;
  patch(file, extra + 2, std::uint16_t{8});  // only one of three numbers, the rest another field
  patch(file, extra + 12, std::uint32_t{0x000c0007});
  leafcutter::test::expect_error([&] { read(file); }, {"a/y", "zip64 field is missing or cut short"});
  file = good;
  patch(file, extra + 2, std::uint16_t{8});
  patch(file, extra + 12, std::uint32_t{0x000c0001});
  leafcutter::test::expect_error([&] { read(file); }, {"a/y", "two zip64 fields"});
  file = good;
  patch(file, extra + 20, ~std::uint64_t{0});
  leafcutter::test::expect_error([&] { read(file); }, {"a/y", "before the directory"});
}

TEST_CASE("two entries over the same bytes are refused") {
  // The second entry's header lies within the bytes of the first.
  ZipBytes inner = ZipBytes().add("a/y", "second one");
  inner.zip64_end = false;
  const std::string hidden = inner.file().substr(0, inner.directory_at);
  ZipBytes zip = ZipBytes().add("a/x", hidden + "tail").add("a/y", "second one");
  std::string file = zip.file();
  patch(file, zip.entries[1].central_at + kOffset, static_cast<std::uint32_t>(kZipLocalBytes + 3));
  leafcutter::test::expect_error([&] { read(file); }, {"a/y", "overlaps", "a/x"});
}

TEST_CASE("every cut of a zip is refused") {
  for (const bool zip64 : {false, true}) {
    ZipBytes zip = two();
    zip.zip64_end = zip64;
    const std::string good = zip.file();
    for (std::size_t n = 0; n < good.size(); n++) CHECK_THROWS_AS(read(good.substr(0, n)), Error);
  }
}

TEST_CASE("the checksum is CRC-32") {
  const std::string text = "123456789";
  CHECK(zip_crc32(std::as_bytes(std::span(text))) == 0xcbf43926u);
}
