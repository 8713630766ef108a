// F1, F2, F10 of the list of trust: cuts, flipped bits, short and failing reads.
#include "compress/leaf_reader.h"

#include <doctest/doctest.h>

#include <random>

#include "base/half.h"
#include "tests/compress/leaf_bytes.h"
#include "tests/compress/leaf_samples.h"
#include "tests/support/expect_error.h"
#include "tests/support/fault_file.h"
#include "tests/support/sanitized.h"
#include "tests/support/temporary_folder.h"

using namespace leafcutter;
using namespace leafcutter::compress;
using namespace leafcutter::compress::test;
using leafcutter::test::error_of;
using leafcutter::test::expect_error;
using leafcutter::test::FaultFile;
using leafcutter::test::MemoryFile;
using leafcutter::test::ReadFaults;

namespace {

// Everything that a file says, as one value to compare.
struct Content {
  std::string description;
  std::vector<std::byte> section;
  std::vector<std::vector<std::byte>> chunks;
  std::vector<float> rows;

  bool operator==(const Content&) const = default;
};

Content content_of(File& file) {
  const LeafIndex index = read_leaf_index(file);
  Content out{to_json_text(index.model), read_tokenizer_section(file, index), {}, {}};
  for (std::size_t c = 0; c < index.chunks.size(); c++) {
    out.chunks.emplace_back(index.chunks[c].raw_bytes);
    read_chunk(file, index, c, out.chunks.back());
  }
  std::vector<std::byte> scratch;
  std::vector<float> row(index.model.dim);
  for (std::uint64_t r = 0; r < index.model.vocab_size; r++) {
    read_embedding_row(file, index, r, scratch, row.data());
    out.rows.insert(out.rows.end(), row.begin(), row.end());
  }
  verify_embedding_tiles(file, index);
  return out;
}

Sample f32_sample() {
  Sample sample;
  sample.format = quant::FormatId::f32;
  return sample;
}

std::size_t chunk_at(const LeafIndex& index, std::size_t offset) {
  std::size_t found = 0;
  while (found + 1 < index.chunks.size() && index.chunks[found + 1].file_offset <= offset) found++;
  return found;
}

}  // namespace

TEST_CASE("every cut of a file is refused") {
  const std::vector<std::byte> whole = sample_bytes();
  MemoryFile file({});
  for (std::size_t n = 0; n < whole.size(); n += leafcutter::test::kSanitized ? 7 : 1) {
    file.bytes.assign(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(n));
    const auto message = error_of([&] { read_leaf_index(file); });
    CAPTURE(n);
    REQUIRE(message.has_value());
    REQUIRE(message->find("memory.leaf, header") == 0);
  }
}

TEST_CASE("a file with something behind its end is refused") {
  for (std::size_t more : {1, 64, 4096}) {
    MemoryFile file(sample_bytes());
    file.bytes.resize(file.bytes.size() + more);
    expect_error([&] { read_leaf_index(file); }, {"memory.leaf, header, file_bytes"});
  }
}

TEST_CASE("every flipped bit of the header is noticed") {
  MemoryFile file(sample_bytes());
  for (std::size_t bit = 0; bit < std::size_t{4096} * 8; bit += leafcutter::test::kSanitized ? 5 : 1) {
    file.bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    const auto message = error_of([&] { read_leaf_index(file); });
    CAPTURE(bit);
    REQUIRE(message.has_value());
    REQUIRE(message->find("memory.leaf, header, ") == 0);
    file.bytes[bit / 8] ^= std::byte{1} << (bit % 8);
  }
  CHECK_NOTHROW(read_all(file));
}

TEST_CASE("every flipped bit of index, tokenizer and tail is noticed") {
  MemoryFile file(sample_bytes());
  const std::size_t begin = LeafBytes(file.bytes).index_offset();
  for (std::size_t bit = begin * 8; bit < file.bytes.size() * 8; bit += leafcutter::test::kSanitized ? 5 : 1) {
    file.bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    const auto message = error_of([&] {
      const LeafIndex index = read_leaf_index(file);
      read_tokenizer_section(file, index);
    });
    CAPTURE(bit);
    REQUIRE(message.has_value());
    file.bytes[bit / 8] ^= std::byte{1} << (bit % 8);
  }
  CHECK_NOTHROW(read_all(file));
}

TEST_CASE("10000 random flipped bits of the weights are noticed, with module, tensor, chunk and offset") {
  Sample sample;
  for (Codec codec : {Codec::none, Codec::zstd}) {
    sample.options.codec = codec;
    MemoryFile file(sample_bytes(sample));
    const LeafIndex index = read_leaf_index(file);
    const std::size_t end = LeafBytes(file.bytes).index_offset();
    std::mt19937_64 random(codec == Codec::none ? 1 : 2);
    std::vector<std::byte> raw;
    for (int i = 0; i < 5000; i++) {
      const std::size_t at = 4096 + random() % (end - 4096);
      const std::byte bit = std::byte{1} << (random() % 8);
      const std::size_t chunk = chunk_at(index, at);
      raw.resize(index.chunks[chunk].raw_bytes);
      file.bytes[at] ^= bit;
      const auto message = error_of([&] { read_chunk(file, index, chunk, raw); });
      file.bytes[at] ^= bit;
      CAPTURE(at);
      REQUIRE(message.has_value());
      const ModuleEntry& module = index.modules[index.chunks[chunk].module];
      const std::string place = "chunk " + std::to_string(chunk) + ", offset " + std::to_string(index.chunks[chunk].file_offset);
      REQUIRE(message->find(place) != std::string::npos);
      REQUIRE(message->find(module_kind_name(module.kind)) != std::string::npos);
      REQUIRE(message->find(" (") != std::string::npos);
    }
    CHECK_NOTHROW(read_all(file));
  }
}

TEST_CASE("a chunk's place names layer, part, tensors, number and offset") {
  Sample sample;
  sample.options.chunk_bytes = kMaxChunkBytes;
  MemoryFile file(sample_bytes(sample));
  const LeafIndex index = read_leaf_index(file);
  REQUIRE(index.chunks.size() == 7);
  CHECK(chunk_place(index, 0) == "embedding (embedding), chunk 0, offset 4096");
  CHECK(chunk_place(index, 3) == "layer 1 attention (attention_q, attention_k, attention_v, attention_out), chunk 3, offset " +
                                     std::to_string(index.chunks[3].file_offset));
  CHECK(chunk_place(index, 6).find("vectors (layer 0 attention_norm, layer 0 attention_q_bias, ") == 0);
}

TEST_CASE("short reads of any length give the same content") {
  MemoryFile file(sample_bytes(f32_sample()));
  const Content whole = content_of(file);
  for (std::size_t longest : {std::size_t{1}, std::size_t{7}, std::size_t{100}, std::size_t{4095}, std::size_t{4097}}) {
    CAPTURE(longest);
    FaultFile faulty(file, {.longest = longest});
    CHECK(content_of(faulty) == whole);
  }
  for (std::uint64_t seed = 1; seed <= 20; seed++) {
    CAPTURE(seed);
    FaultFile faulty(file, {.random_lengths = true, .seed = seed});
    CHECK(content_of(faulty) == whole);
  }
}

TEST_CASE("a read that fails, or a file that ends early, at any call is an error that names the file") {
  MemoryFile file(sample_bytes(f32_sample()));
  FaultFile counting(file, {});
  content_of(counting);
  REQUIRE(counting.calls() > 10);
  for (std::size_t call = 0; call < counting.calls(); call++) {
    CAPTURE(call);
    for (const ReadFaults& faults :
         {ReadFaults{.error_at = call}, ReadFaults{.error_at = call, .and_after = true}, ReadFaults{.end_at = call}}) {
      FaultFile faulty(file, faults);
      expect_error([&] { content_of(faulty); }, {"memory.leaf, "});
    }
  }
}

TEST_CASE("a file is read the same buffered and directly from disk") {
  const leafcutter::test::TemporaryFolder folder;
  MemoryFile file(sample_bytes(f32_sample()));
  leafcutter::test::write_whole_file(folder.file("a.leaf"), file.bytes);
  const Content whole = content_of(file);
  for (FileAccess access : {FileAccess::buffered, FileAccess::direct}) {
    const auto disk = open_file(folder.file("a.leaf"), access);
    CHECK(content_of(*disk) == whole);
  }
}

TEST_CASE("an embedding row is what its strip holds, and a damaged one is refused by rows and offset") {
  const Sample sample = f32_sample();
  MemoryFile file(sample_bytes(sample));
  const LeafIndex index = read_leaf_index(file);
  const TensorEntry& embedding = *index.find(TensorRole::embedding);
  std::vector<std::byte> strip(embedding.strip_bytes()), scratch;
  fill_pattern({TensorRole::embedding, 0, sample.format, 40, 32, 1}, 2, strip);
  std::vector<float> row(32);
  read_embedding_row(file, index, 37, scratch, row.data());
  for (std::size_t i = 0; i < 32; i++) {
    float expected;
    std::memcpy(&expected, strip.data() + 4 * (16 * i + 5), 4);
    CHECK(row[i] == expected);
  }
  const std::size_t offset = index.chunks[1].file_offset;  // 2048-byte strips, two in a chunk
  file.bytes[offset + 100] ^= std::byte{1};
  CHECK_NOTHROW(read_embedding_row(file, index, 31, scratch, row.data()));
  expect_error([&] { read_embedding_row(file, index, 32, scratch, row.data()); },
               {"memory.leaf, embedding, rows 32 to 39, offset " + std::to_string(offset)});
  expect_error([&] { verify_embedding_tiles(file, index); }, {"embedding, rows 32 to 39"});
  expect_error([&] { read_embedding_row(file, index, 40, scratch, row.data()); }, {"no row 40 among 40"});
}

TEST_CASE("stored bytes that are too few or of another chunk are refused") {
  MemoryFile file(sample_bytes());
  const LeafIndex index = read_leaf_index(file);
  std::vector<std::byte> stored(index.chunks[0].stored_bytes), raw(index.chunks[0].raw_bytes);
  read_exactly(file, index.chunks[0].file_offset, stored, "chunk");
  CHECK_NOTHROW(decode_chunk(index, 0, stored, raw, "f"));
  CHECK_NOTHROW(decode_chunk(index, 0, stored, stored, "f"));
  expect_error([&] { decode_chunk(index, 0, std::span(stored).first(stored.size() - 1), raw, "f"); }, {"f, embedding"});
  expect_error([&] { decode_chunk(index, 0, stored, std::span(raw).first(64), "f"); }, {"room for 64"});
  expect_error([&] { decode_chunk(index, 1, stored, std::span(raw).first(index.chunks[1].raw_bytes), "f"); }, {"chunk 1"});
}

TEST_CASE("a tensor is found by role and layer, what is not there gives null") {
  MemoryFile file(sample_bytes());
  const LeafIndex index = read_leaf_index(file);
  for (const TensorEntry& t : index.tensors) CHECK(index.find(t.role, t.layer) == &t);
  CHECK(index.find(TensorRole::attention_q, 2) == nullptr);
  CHECK(index.find(TensorRole::prompt_embedding) == nullptr);
  CHECK(index.find(TensorRole::attention_q, 4000000000) == nullptr);
}
