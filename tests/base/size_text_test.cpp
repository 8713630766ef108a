#include "base/size_text.h"

#include <doctest/doctest.h>

#include "base/error.h"

using leafcutter::Error;
using leafcutter::format_bytes;
using leafcutter::parse_size;

TEST_CASE("a size is read in every way people write it") {
  struct Row {
    const char* text;
    std::uint64_t bytes;  // where 1000 are available
  };
  const Row rows[] = {{"0", 0},
                      {"123", 123},
                      {"2GiB", 2ull << 30},
                      {"1500MB", 1'500'000'000},
                      {"1.5GiB", 3ull << 29},
                      {"4k", 4096},
                      {"7 KiB", 7 * 1024},
                      {"1tb", 1'000'000'000'000},
                      {"60%", 600},
                      {"-400", 600},
                      {"-1GiB", 0},
                      {"100%", 1000}};
  for (const Row& row : rows) {
    CAPTURE(row.text);
    CHECK(parse_size(row.text, "--memory").resolve(1000) == row.bytes);
  }
}

TEST_CASE("what is no size is refused with the flag's name") {
  for (const char* text : {"", "GiB", "-", "--1", "1.2.3", "12 parsecs", "0%", "101%", "-5%", "nan", "inf", "1e3", "99999999999999TiB"}) {
    CAPTURE(text);
    try {
      parse_size(text, "--memory");
      FAIL("accepted");
    } catch (const Error& e) { CHECK(std::string(e.what()).find("--memory") == 0); }
  }
}

TEST_CASE("bytes are shown with three digits") {
  CHECK(format_bytes(0) == "0 B");
  CHECK(format_bytes(1023) == "1023 B");
  CHECK(format_bytes(1024) == "1.00 KiB");
  CHECK(format_bytes(3ull << 29) == "1.50 GiB");
  CHECK(format_bytes(10 * 1024 * 1024) == "10.0 MiB");
}
