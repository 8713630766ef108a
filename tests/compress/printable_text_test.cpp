#include "compress/printable_text.h"

#include <doctest/doctest.h>

using namespace leafcutter::compress;

TEST_CASE("UTF-8 is told from what is not") {
  for (const char* good :
       {"", "abc", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"})
    CHECK(is_utf8(good));
  for (const char* bad :
       {"\x80", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2\x41", "\xe0\x80\x80", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xed\xbf\xbf", "\xe1\x80",
        "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xf0\x90\x80", "\xff", "a\xfe"})
    CHECK_FALSE(is_utf8(bad));
}

TEST_CASE("control characters are not printable, neither those of ASCII nor those of Latin-1") {
  for (const char* bad : {"\n", "\x1b[2J", "\x7f",
                          "\xc2\x9b"
                          "2J",
                          "a\tb"}) {
    CHECK(is_utf8(bad));
    CHECK_FALSE(is_printable_text(bad));
  }
  CHECK(
      is_printable_text("Gr\xc3\xb6\xc3\x9f"
                        "e \xc2\xa0 \xf0\x9f\x8c\xbf"));
}

TEST_CASE("text is made printable and cut between characters") {
  CHECK(printable_text("a\nb\xff"
                       "c\x1b",
                       100) == "a?b?c?");
  CHECK(printable_text("\xe5\xa4\xa7\xe5\xa4\xa7", 5) == "\xe5\xa4\xa7");
  CHECK(printable_text("abc", 3) == "abc");
  CHECK(printable_text("abcd", 3) == "abc");
  CHECK(printable_text("abc", 0).empty());
  for (int first = 0; first < 256; first++)
    for (int second = 0; second < 256; second++) {
      const std::string text = {static_cast<char>(first), static_cast<char>(second), 'x'};
      const bool sound = is_printable_text(printable_text(text, 8));
      if (!sound) FAIL(first);
    }
}
