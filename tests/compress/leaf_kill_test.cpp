// F7: writers that are killed at random moments.
#include <doctest/doctest.h>

#include <random>

#include "tests/compress/leaf_samples.h"
#include "tests/support/killed_child.h"
#include "tests/support/temporary_folder.h"

using namespace leafcutter;
using namespace leafcutter::compress;
using namespace leafcutter::compress::test;
using leafcutter::test::ChildEnd;

namespace {

Sample large_sample(std::uint64_t seed) {
  Sample sample;
  sample.model.vocab_size = 20000;
  sample.model.layers.assign(24, layer_of(8, 8, 64, 2000));
  sample.format = quant::FormatId::q8;
  sample.options.chunk_bytes = 256 << 10;
  sample.seed = seed;
  return sample;
}

void write_file(const std::string& path, std::uint64_t seed) {
  const auto file = create_file(path);
  ThreadTeam team(2);
  write_sample(*file, large_sample(seed), team);
}

// The hash of the first chunk tells whose file it is.
std::uint64_t first_hash(const std::string& path) {
  const auto file = open_file(path);
  read_all(*file);
  return read_leaf_index(*file).chunks[0].hash;
}

}  // namespace

TEST_CASE("slow: 200 writers killed at random moments leave the old file or the whole new one, and the next run leaves nothing beside it") {
  const leafcutter::test::TemporaryFolder folder;
  const std::string path = folder.file("a.leaf");
  const auto start = std::chrono::steady_clock::now();
  write_file(path, 0);
  const auto whole = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start);
  std::uint64_t current = first_hash(path);
  std::mt19937_64 random(7);
  std::size_t killed = 0, replaced = 0, leftovers = 0;
  for (std::uint64_t run = 1; run <= 200; run++) {
    const std::chrono::microseconds delay(random() % static_cast<std::uint64_t>(whole.count() + whole.count() / 4 + 1));
    const ChildEnd end = leafcutter::test::run_and_kill(delay, [&] { write_file(path, run); });
    REQUIRE(end != ChildEnd::failed);
    killed += end == ChildEnd::killed;
    leftovers += folder.names().size() - 1;
    REQUIRE(folder.names().size() <= 2);  // at most what this run left: the one before was cleaned up
    const std::uint64_t hash = first_hash(path);
    REQUIRE((end == ChildEnd::killed || hash != current));
    replaced += hash != current;
    current = hash;
  }
  MESSAGE("killed " << killed << " of 200, target replaced " << replaced << " times, left " << leftovers
                    << " temporaries in between, damaged 0");
  CHECK(killed >= 50);
  write_file(path, 1000);
  CHECK(folder.names() == std::vector<std::string>{"a.leaf"});
}
