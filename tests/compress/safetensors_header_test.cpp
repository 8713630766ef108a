#include "compress/safetensors_header.h"

#include <doctest/doctest.h>

#include <cstring>
#include <string>

#include "base/error.h"

using namespace leafcutter;
using namespace leafcutter::compress;

namespace {

std::vector<SafetensorsEntry> parse(const std::string& header, std::uint64_t data_bytes) {
  return parse_safetensors_header(std::as_bytes(std::span(header)), 8 + header.size() + data_bytes, "model.safetensors");
}

struct BadHeader {
  const char* name;
  std::string header;
  std::uint64_t data_bytes;
  const char* message;  // a part of it
};

const BadHeader kBadHeaders[] = {
    {"empty", "", 0, "no JSON"},
    {"an array", "[]", 0, "no JSON object"},
    {"deep nesting", std::string(100'000, '['), 0, "nested deeper"},
    {"end before begin", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4, "bytes 4 to 0"},
    {"past the end", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 4, "bytes 0 to 8 of 4"},
    {"offset of 2^64 - 1", R"({"a":{"dtype":"I8","shape":[1],"data_offsets":[18446744073709551614,18446744073709551615]}})", 4, "of 4"},
    {"negative shape", R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, "whole numbers"},
    {"shape that overflows", R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}})", 4, "larger than any file"},
    {"wrong size", R"({"a":{"dtype":"F16","shape":[4],"data_offsets":[0,4]}})", 4, "needs 8 bytes, the file gives 4"},
    {"unknown dtype", R"({"a":{"dtype":"F3","shape":[4],"data_offsets":[0,4]}})", 4, "dtype F3"},
    {"twice the same name", R"({"a":{"dtype":"I8","shape":[2],"data_offsets":[0,2]},"a":{"dtype":"I8","shape":[2],"data_offsets":[2,4]}})",
     4, "named twice"},
    {"overlap", R"({"a":{"dtype":"I8","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"I8","shape":[2],"data_offsets":[2,4]}})", 4,
     "overlap"},
    {"hole", R"({"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"I8","shape":[2],"data_offsets":[2,4]}})", 4, "hole"},
    {"bytes left over", R"({"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}})", 4, "belong to no tensor"},
    {"a number past all doubles", R"({"a":{"dtype":"I8","shape":[1e999],"data_offsets":[0,4]}})", 4, "past the range"},
    {"missing field", R"({"a":{"dtype":"I8","shape":[4]}})", 4, "has no data_offsets"},
};

}  // namespace

TEST_CASE("a good header gives its tensors in file order, with offsets from the start of the file") {
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"I8","shape":[3],"data_offsets":[8,11]},"a":{"dtype":"F16","shape":[2,2],"data_offsets":[0,8]}})";
  const auto entries = parse(header, 11);
  REQUIRE(entries.size() == 2);
  CHECK(entries[0].name == "a");
  CHECK(entries[0].shape == std::vector<std::uint64_t>{2, 2});
  CHECK(entries[0].offset == 8 + header.size());
  CHECK(entries[1].offset == entries[0].offset + 8);
}

TEST_CASE("a bad header is refused with file, place and reason") {
  for (const BadHeader& bad : kBadHeaders) {
    CAPTURE(bad.name);
    try {
      parse(bad.header, bad.data_bytes);
      FAIL("accepted");
    } catch (const Error& e) {
      const std::string text = e.what();
      CAPTURE(text);
      CHECK(text.find("model.safetensors") == 0);
      CHECK(text.find(bad.message) != std::string::npos);
      CHECK(text.find('\n') == std::string::npos);
    }
  }
}

TEST_CASE("every truncation of a good header is refused") {
  const std::string good = R"({"a":{"dtype":"F16","shape":[2,2],"data_offsets":[0,8]}})";
  for (std::size_t n = 0; n < good.size(); n++) CHECK_THROWS_AS(parse(good.substr(0, n), 8), Error);
}

TEST_CASE("a header length that the file cannot hold is refused before anything is read") {
  for (std::uint64_t length : {std::uint64_t{100}, std::uint64_t{1} << 60, ~std::uint64_t{0}}) {
    std::byte first[8];
    std::memcpy(first, &length, 8);
    CHECK_THROWS_AS(safetensors_header_bytes(first, 64, "model.safetensors"), Error);
  }
}
