#include "runtime/lookup.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <vector>

using namespace leafcutter::runtime;

namespace {

using Ids = std::vector<std::uint32_t>;

// From the definition: every place, every length.
Repeat expected(const Ids& ids) {
  Repeat best;
  for (std::size_t next = 1; next < ids.size(); next++)
    for (std::size_t length = 1; length <= std::min(next, kLongestRepeat); length++)
      if (std::equal(ids.end() - static_cast<std::ptrdiff_t>(length), ids.end(),
                     ids.begin() + static_cast<std::ptrdiff_t>(next - length)) &&
          length >= best.length)
        best = {length, next};
  return best;
}

}  // namespace

TEST_CASE("a look-up finds the longest repeat of a text's end, of several the last") {
  std::mt19937 random(7);
  for (int round = 0; round < 3000; round++) {
    Ids ids(random() % 60);
    const std::uint32_t alphabet = 1 + random() % 6;
    for (std::uint32_t& id : ids) id = random() % alphabet;
    if (round % 3 == 0 && ids.size() > 40) std::copy_n(ids.begin(), 20, ids.end() - 20);  // longer than is looked for
    const Repeat want = expected(ids), got = longest_repeat(ids);
    CAPTURE(ids.size());
    REQUIRE(got.length == want.length);
    if (want.length > 0) REQUIRE(got.next == want.next);
  }
}

TEST_CASE("a text without repeats has none") {
  CHECK(longest_repeat({}).length == 0);
  CHECK(longest_repeat(Ids{5}).length == 0);
  CHECK(longest_repeat(Ids{1, 2, 3, 4}).length == 0);
}
