#include "runtime/stop_matcher.h"

#include <doctest/doctest.h>

using leafcutter::runtime::StopMatcher;

TEST_CASE("text before a stop string comes out, the rest does not, wherever the pieces are cut") {
  const std::string text = "one two STOP three";
  for (std::size_t a = 0; a <= text.size(); a++)
    for (std::size_t b = a; b <= text.size(); b++) {
      StopMatcher matcher({"STOP", "never"});
      std::string out;
      for (const std::string& piece : {text.substr(0, a), text.substr(a, b - a), text.substr(b)}) out += matcher.push(piece);
      out += matcher.flush();
      REQUIRE(out == "one two ");
      REQUIRE(matcher.found());
    }
}

TEST_CASE("what looked like a stop string comes out when it turns out to be none") {
  StopMatcher matcher({"abcd", ""});
  CHECK(matcher.push("xabc") == "x");
  CHECK(matcher.push("abc") == "abc");
  CHECK(matcher.flush() == "abc");
  CHECK_FALSE(matcher.found());
}
