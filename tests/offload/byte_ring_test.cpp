#include "offload/byte_ring.h"

#include <doctest/doctest.h>

#include <deque>
#include <random>

using namespace leafcutter::offload;

namespace {

struct Region {
  std::size_t at, bytes;
};

// The same as a list: behind the newest region where there is room, else at the front; a place is free when it touches no region.
class RegionList {
 public:
  explicit RegionList(std::size_t size) : size_(size) {}

  std::optional<std::size_t> take(std::size_t bytes) {
    for (const std::size_t at : {regions_.empty() ? 0 : regions_.back().at + regions_.back().bytes, std::size_t{0}})
      if (is_free(at, bytes)) {
        regions_.push_back({at, bytes});
        return at;
      }
    return std::nullopt;
  }
  std::size_t count() const { return regions_.size(); }
  std::size_t give_back_oldest() {
    regions_.pop_front();
    return regions_.empty() ? 12345 : regions_.front().at;
  }

 private:
  bool is_free(std::size_t at, std::size_t bytes) const {
    if (at + bytes > size_) return false;
    for (const Region& region : regions_)
      if (at < region.at + region.bytes && region.at < at + bytes) return false;
    return true;
  }

  std::size_t size_;
  std::deque<Region> regions_;
};

}  // namespace

TEST_CASE("a ring gives the places that a simple list gives, for any takes and givings back") {
  std::mt19937 random(1);
  std::size_t taken = 0, refused = 0;
  for (int run = 0; run < 400; run++) {
    const std::size_t size = 1 + random() % 60, most = 1 + random() % (size + 2);
    ByteRing ring(size);
    RegionList list(size);
    for (int step = 0; step < 300; step++) {
      if (list.count() > 0 && random() % 2 == 0) {
        ring.give_back_oldest(list.give_back_oldest());
        continue;
      }
      const std::size_t bytes = 1 + random() % most;
      const std::optional<std::size_t> wanted = list.take(bytes), got = ring.take(bytes);
      (wanted ? taken : refused)++;
      REQUIRE(got == wanted);
    }
  }
  CHECK(taken > 10'000);
  CHECK(refused > 10'000);
}

TEST_CASE("a ring can be filled to the last byte, and holds nothing larger than itself") {
  ByteRing ring(100);
  CHECK_FALSE(ring.take(101));
  CHECK(ring.take(100) == 0);
  CHECK_FALSE(ring.take(1));
  ring.give_back_oldest(0);
  CHECK(ring.take(60) == 0);
  CHECK(ring.take(40) == 60);
  ring.give_back_oldest(60);
  CHECK(ring.take(60) == 0);  // full again, the newest before the oldest
  CHECK_FALSE(ring.take(1));
  ring.give_back_oldest(0);
  CHECK(ring.take(40) == 60);
  ByteRing none(0);
  CHECK_FALSE(none.take(1));
}
