// F5: the largest index that the limits allow takes less than 64 MiB and a second, whether it is sound or not.
#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdlib>
#include <ctime>
#include <fstream>

#include "base/checked.h"
#include "base/error.h"
#include "compress/leaf_fields.h"
#include "compress/leaf_layout.h"
#include "compress/xxh3.h"
#include "tests/compress/leaf_samples.h"
#include "tests/support/sanitized.h"
#include "tests/support/temporary_folder.h"

using namespace leafcutter;
using namespace leafcutter::compress;
using namespace leafcutter::compress::test;
using leafcutter::test::TemporaryFolder;

using leafcutter::test::kSanitized;

namespace {

// As many layers, tensors, chunks and bias columns as there may be; the last chunks make up the number.
LeafIndex largest_index() {
  ModelDescription m = small_ant();
  m.dim = 64;
  m.vocab_size = 2000000;
  m.segment_bias.columns = 1000;
  m.layers.assign(ModelLimits::kLayers, layer_of(400, 400, 1, 32));
  for (LayerDescription& layer : m.layers) layer.bias_columns.assign(400, 999);
  std::vector<TensorPlan> plan;
  for (const ExpectedTensor& t : expected_tensors(m)) {
    const bool vector = is_vector_role(t.role);
    plan.push_back({t.role, t.layer, vector ? quant::FormatId::f32 : quant::FormatId::q4, t.rows, t.k, 1});
  }
  return make_layout(m, plan, 2048).index;
}

// Writes header and index alone; the weights are a hole in the file.
void write_hollow(const std::string& path, const LeafIndex& index, bool sound) {
  std::vector<std::byte> bytes;
  FieldWriter fields(bytes);
  const std::string description = to_json_text(index.model);
  for (char c : description) fields.number(c);
  fields.zeros(round_up(description.size(), kDescriptionAlignment) - description.size());
  const auto put = [&](auto entry) { transfer(fields, entry); };
  for (const ModuleEntry& m : index.modules) put(m);
  for (const TensorEntry& t : index.tensors) put(t);
  for (const ChunkEntry& c : index.chunks) put(c);
  for (std::uint64_t hash : index.embedding_tile_hashes) put(hash);
  const std::size_t index_bytes = bytes.size();
  if (!sound) bytes[index_bytes - index.embedding_tile_hashes.size() * 8 - 17] ^= std::byte{1};  // in the last chunk
  LeafHeader h{.file_bytes = index.file_bytes,
               .index_offset = index.chunks.back().file_offset + round_up(index.chunks.back().stored_bytes, kPage),
               .index_bytes = index_bytes,
               .index_hash = xxh3(bytes),
               .description_bytes = static_cast<std::uint32_t>(description.size()),
               .modules = static_cast<std::uint32_t>(index.modules.size()),
               .tensors = static_cast<std::uint32_t>(index.tensors.size()),
               .chunks = static_cast<std::uint32_t>(index.chunks.size()),
               .tiles = static_cast<std::uint32_t>(index.embedding_tile_hashes.size())};
  std::vector<std::byte> page;
  FieldWriter header(page);
  header.number(kLeafMagic);
  transfer(header, h);
  header.number(xxh3(page));
  std::ofstream out(path, std::ios::binary);
  const auto write = [&](std::uint64_t at, std::span<const std::byte> part) {
    out.seekp(static_cast<std::streamoff>(at));
    out.write(reinterpret_cast<const char*>(part.data()), static_cast<std::streamsize>(part.size()));
  };
  bytes.resize(round_up(bytes.size(), kPage));
  write(0, page);
  write(h.index_offset, bytes);
}

std::uint64_t status_bytes(const char* field) {
  std::ifstream in("/proc/self/status");
  for (std::string word; in >> word;)
    if (word == field) {
      in >> word;
      return std::stoull(word) << 10;
    }
  return 0;
}

struct Reading {
  std::uint64_t bytes = 0;
  double seconds = 0;
  bool accepted = false;
};

// Reads the index in a program of its own, so that what this one has touched before does not count: the test program again, with LEAFCUTTER_READ_INDEX set.
Reading read_apart(const std::string& path) {
  const std::string command = "LEAFCUTTER_READ_INDEX='" + path + "' /proc/" + std::to_string(::getpid()) +
                              "/exe --test-case='read the index named by*' --no-skip > /dev/null 2>&1";
  REQUIRE(std::system(command.c_str()) == 0);
  Reading out;
  std::ifstream in(path + ".reading");
  in >> out.bytes >> out.seconds >> out.accepted;
  return out;
}

}  // namespace

TEST_CASE("read the index named by LEAFCUTTER_READ_INDEX" * doctest::skip()) {
  const char* path = std::getenv("LEAFCUTTER_READ_INDEX");
  if (!path) return;
  const std::uint64_t before = status_bytes("VmRSS:");
  const std::clock_t start = std::clock();  // the processor's time: what others do beside the test does not count
  bool accepted = true;
  try {
    const auto file = open_file(path);
    read_leaf_index(*file);
  } catch (const Error&) { accepted = false; }
  const double spent = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  std::ofstream(std::string(path) + ".reading") << status_bytes("VmHWM:") - before << ' ' << spent << ' ' << accepted;
}

TEST_CASE("the largest index that the limits allow is read in 64 MiB and a second, sound or not") {
  const LeafIndex index = largest_index();
  const std::string description = to_json_text(index.model);
  MESSAGE("description " << description.size() << " bytes, tensors " << index.tensors.size() << ", chunks " << index.chunks.size()
                         << ", tiles " << index.embedding_tile_hashes.size());
  CHECK(description.size() > 6'000'000);
  CHECK(index.chunks.size() > 200'000);
  const TemporaryFolder folder;
  for (bool sound : {true, false}) {
    if (kSanitized && sound) continue;
    const std::string path = folder.file(sound ? "sound.leaf" : "unsound.leaf");
    write_hollow(path, index, sound);
    const Reading reading = read_apart(path);
    MESSAGE((sound ? std::string("sound: ") : std::string("unsound: ")) << reading.bytes / 1024 << " KiB, " << reading.seconds << " s");
    CHECK(reading.accepted == sound);
    if (kSanitized) continue;  // shadow memory and checks are not ours
    CHECK(reading.bytes < (std::uint64_t{64} << 20));
    CHECK(reading.seconds < 1);
  }
}
