// F8, F11 of the list of trust: round trips, the same bytes whatever the threads, faults at every call leave nothing.
#include "compress/leaf_writer.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <set>

#include "compress/leaf_check.h"
#include "compress/strip_walk.h"
#include "tests/compress/leaf_bytes.h"
#include "tests/compress/leaf_samples.h"
#include "tests/support/expect_error.h"
#include "tests/support/fault_file.h"
#include "tests/support/temporary_folder.h"

using namespace leafcutter;
using namespace leafcutter::compress;
using namespace leafcutter::compress::test;
using leafcutter::test::expect_error;
using leafcutter::test::FaultNewFile;
using leafcutter::test::MemoryFile;
using leafcutter::test::MemoryNewFile;
using leafcutter::test::TemporaryFolder;
using leafcutter::test::WriteFaults;

namespace {

// The blob that the sample's filler makes of a module.
std::vector<std::byte> expected_blob(const LeafIndex& index, const ModuleEntry& module, const Sample& sample) {
  std::vector<std::byte> blob(module.bytes);
  for (std::size_t i = module.first_tensor; i < module.first_tensor + module.tensor_count; i++) {
    const TensorEntry& t = index.tensors[i];
    const TensorPlan plan{t.role, t.layer, t.format, t.rows, t.k, t.divisor};
    const std::uint64_t strips = module.kind == ModuleKind::vectors ? 1 : t.strips(), each = t.bytes / strips;
    for (std::uint64_t s = 0; s < strips; s++) fill_pattern(plan, s, std::span(blob).subspan(t.offset + s * each, each), sample.seed);
  }
  return blob;
}

// Reads the file back and compares every byte; gives the number of tensors.
std::size_t check_round_trip(const Sample& sample, std::size_t threads) {
  MemoryFile file(sample_bytes(sample, threads));
  const LeafIndex index = read_leaf_index(file);
  REQUIRE(to_json_text(index.model) == to_json_text(sample.model));
  for (const ModuleEntry& module : index.modules) {
    std::vector<std::byte> blob(module.bytes);
    for (std::size_t c = module.first_chunk; c < module.first_chunk + module.chunk_count; c++)
      read_chunk(file, index, c, std::span(blob).subspan(index.chunks[c].module_offset, index.chunks[c].raw_bytes));
    REQUIRE(blob == expected_blob(index, module, sample));
  }
  verify_embedding_tiles(file, index);
  return index.tensors.size();
}

ModelDescription shape(std::uint32_t dim, std::uint32_t heads, std::uint32_t head_dim, std::uint32_t ff_width, std::uint32_t vocab,
                       bool tied) {
  ModelDescription m = small_llama();
  m.dim = dim;
  m.vocab_size = vocab;
  m.tied_head = tied;
  m.end_ids.clear();
  m.begin_id.reset();
  m.layers = {layer_of(heads, 1, head_dim, ff_width), layer_of(0, 0, 0, 0), layer_of(heads, heads, head_dim, 0),
              layer_of(0, 0, 0, ff_width)};
  return m;
}

constexpr quant::FormatId kFormats[] = {quant::FormatId::f32,  quant::FormatId::f16,   quant::FormatId::bf16,
                                        quant::FormatId::q8,   quant::FormatId::q8row, quant::FormatId::q4,
                                        quant::FormatId::q8_0, quant::FormatId::q4_0,  quant::FormatId::q4_1};

void write_with_faults(const std::string& path, const WriteFaults& faults, std::size_t* calls = nullptr) {
  Sample sample;
  sample.options.codec = Codec::zstd;
  ThreadTeam team(2);
  FaultNewFile file(create_file(path), faults);
  struct Count {
    FaultNewFile& file;
    std::size_t* calls;
    ~Count() {
      if (calls) *calls = file.calls();
    }
  } const count{file, calls};
  write_sample(file, sample, team);
}

}  // namespace

TEST_CASE("what was written is read back, for all formats, widths around the blocks, chunk sizes and codecs") {
  std::size_t tensors = 0;
  for (quant::FormatId format : kFormats)
    for (std::uint32_t width : {2u, 31u * 2, 32u, 33u * 2, 126u, 128u, 130u})
      for (std::uint64_t chunk : {std::uint64_t{64}, std::uint64_t{5000}, kMaxChunkBytes})
        for (Codec codec : {Codec::none, Codec::zstd}) {
          Sample sample;
          sample.format = format;
          sample.model = shape(width, 3, 2, width / 2, 15 + width % 5, width % 4 == 0);
          sample.options = {.chunk_bytes = chunk, .codec = codec};
          sample.biases = chunk == 5000;
          sample.tokenizer = codec == Codec::none;
          CAPTURE(width);
          CAPTURE(chunk);
          tensors += check_round_trip(sample, 1 + width % 3);
        }
  MESSAGE("tensors compared: " << tensors);
  CHECK(tensors >= 5000);
}

TEST_CASE("rows at the edges of a strip are read back") {
  for (std::uint32_t vocab : {1u, 15u, 16u, 17u, 31u, 32u, 33u, 1000u}) {
    Sample sample;
    sample.model = shape(8, 1, 2, 3, vocab, false);
    sample.options.chunk_bytes = 3000;
    CAPTURE(vocab);
    check_round_trip(sample, 2);
  }
}

TEST_CASE("a CPM-Ant is read back: look-up tables in the embedding's module, the position bias among the vectors") {
  Sample sample;
  sample.model = small_ant();
  sample.format = quant::FormatId::q4;
  check_round_trip(sample, 2);
  MemoryFile file(sample_bytes(sample));
  const LeafIndex index = read_leaf_index(file);
  CHECK(index.modules[0].tensor_count == 3);
  CHECK(index.embedding_tile_hashes.size() == 3 + 2 + 1);
  const TensorEntry* bias = index.find(TensorRole::position_bias);
  REQUIRE(bias);
  CHECK(bias->rows == 3 * 3 + 8);
  CHECK(bias->k == 4);
  CHECK(bias->layout == kernels::Layout::plain);
  CHECK(index.model.layers[2].bias_columns == std::vector<std::uint16_t>{3, 1});
  CHECK_FALSE(index.model.layers[1].has_attention);
}

TEST_CASE("the bytes are the same for any number of threads") {
  for (Codec codec : {Codec::none, Codec::zstd}) {
    Sample sample;
    sample.options.codec = codec;
    const std::vector<std::byte> one = sample_bytes(sample, 1);
    for (std::size_t threads : {2, 3, 7}) CHECK(sample_bytes(sample, threads) == one);
    CHECK(sample_bytes(sample, 1) == one);
  }
}

TEST_CASE("a file of several batches is the same for any number of threads") {
  Sample sample;
  sample.model = shape(512, 8, 64, 3000, 16000, false);
  sample.format = quant::FormatId::f16;
  sample.options = {.chunk_bytes = kMaxChunkBytes, .codec = Codec::none};
  const std::vector<std::byte> one = sample_bytes(sample, 1);
  CHECK(one.size() > (32u << 20));
  CHECK(sample_bytes(sample, 3) == one);
}

TEST_CASE("each strip is asked for once, each vector once and whole") {
  const Sample sample;
  const std::vector<TensorPlan> plan = plan_of(sample.model, sample.format);
  std::mutex mutex;
  std::set<std::pair<std::size_t, std::uint64_t>> seen;
  const FillStrips fill = [&](std::size_t tensor, std::uint64_t begin, std::uint64_t end, std::span<std::byte> out) {
    const std::lock_guard lock(mutex);
    const bool vector = is_vector_role(plan[tensor].role);
    const std::uint64_t each =
        vector ? tensor_bytes(kernels::Layout::plain, 1, plan[tensor].k) : kernels::strip_bytes(kernels::Layout::q8, plan[tensor].k);
    CHECK(out.size() == (end - begin) * each);
    for (std::uint64_t s = begin; s < end; s++) CHECK(seen.insert({tensor, s}).second);
  };
  MemoryNewFile file;
  ThreadTeam team(3);
  write_leaf(file, sample.model, plan, {}, sample.options, fill, team, {});
  std::size_t strips = 0;
  for (const TensorPlan& t : plan) strips += is_vector_role(t.role) ? 1 : (t.rows + 15) / 16;
  CHECK(seen.size() == strips);
}

TEST_CASE("a table that is read as a vector is filled some rows at a time") {
  Sample sample;
  sample.model = small_ant();
  sample.model.segment_bias.segment_types = 64;
  sample.model.segment_bias.buckets = 1 << 14;
  sample.model.segment_bias.max_distance = 1 << 14;
  sample.model.segment_bias.columns = 37;  // no multiple of a line
  std::vector<TensorPlan> plan = plan_of(sample.model, sample.format);
  std::vector<std::uint64_t> pieces;
  const FillStrips fill = [&](std::size_t tensor, std::uint64_t begin, std::uint64_t end, std::span<std::byte> out) {
    if (plan[tensor].role != TensorRole::position_bias) return;
    CHECK(end == begin + 1);
    CHECK(out.size() <= (1u << 20));
    pieces.push_back(begin);
    const std::uint64_t first = begin * rows_of_plain_piece(37) * 37,
                        count = std::min(rows_of_plain_piece(37) * 37, plan[tensor].rows * 37 - first);
    for (std::uint64_t i = 0; i < count; i++) {
      const float value = static_cast<float>(first + i);
      std::memcpy(&out[i * sizeof value], &value, sizeof value);
    }
  };
  MemoryNewFile written;
  ThreadTeam team(2);
  write_leaf(written, sample.model, plan, {}, sample.options, fill, team, {});
  CHECK(pieces == std::vector<std::uint64_t>{0, 1, 2});
  MemoryFile file(written.bytes);
  const LeafIndex index = read_leaf_index(file);
  std::vector<std::byte> blob(index.modules.back().bytes);
  for (std::size_t c = index.modules.back().first_chunk; c < index.chunks.size(); c++)
    read_chunk(file, index, c, std::span(blob).subspan(index.chunks[c].module_offset, index.chunks[c].raw_bytes));
  const TensorEntry& table = *index.find(TensorRole::position_bias);
  REQUIRE(table.rows == 64 * 64 + (1 << 14));
  std::uint64_t wrong = 0;
  for (std::uint64_t i = 0; i < table.rows * 37; i++) {
    float value = -1;
    std::memcpy(&value, &blob[table.offset + i * sizeof value], sizeof value);
    wrong += value == static_cast<float>(i) ? 0 : 1;
  }
  CHECK(wrong == 0);
  for (std::uint64_t i = table.rows * 37 * sizeof(float); i < table.bytes; i++) CHECK(blob[table.offset + i] == std::byte{0});
}

TEST_CASE("zstd is used where it helps and nowhere in the embedding") {
  Sample sample;
  sample.options.codec = Codec::zstd;
  MemoryFile file(sample_bytes(sample));
  const LeafIndex index = read_leaf_index(file);
  for (const ChunkEntry& c : index.chunks) {
    const bool embedding = index.modules[c.module].kind == ModuleKind::embedding;
    CHECK(c.codec == (embedding ? Codec::none : Codec::zstd));
    CHECK((c.stored_bytes < c.raw_bytes) == !embedding);
  }
}

TEST_CASE("a chunk that does not shrink is stored as it is") {
  const Sample sample;
  const std::vector<TensorPlan> plan = plan_of(sample.model, sample.format);
  const FillStrips noise = [](std::size_t tensor, std::uint64_t begin, std::uint64_t, std::span<std::byte> out) {
    std::uint64_t state = tensor * 1000 + begin + 1;
    for (std::byte& b : out) b = static_cast<std::byte>((state = state * 6364136223846793005 + 1442695040888963407) >> 56);
  };
  MemoryNewFile written;
  ThreadTeam team(1);
  write_leaf(written, sample.model, plan, {}, {.chunk_bytes = 4096, .codec = Codec::zstd}, noise, team, {});
  MemoryFile file(written.bytes);
  read_all(file);
  for (const ChunkEntry& c : read_leaf_index(file).chunks) CHECK(c.codec == Codec::none);
}

TEST_CASE("progress rises chunk by chunk to the end, and can stop the writing") {
  const Sample sample;
  const std::vector<TensorPlan> plan = plan_of(sample.model, sample.format);
  MemoryNewFile file;
  ThreadTeam team(2);
  std::vector<std::uint64_t> steps;
  std::uint64_t all = 0;
  write_leaf(file, sample.model, plan, {}, sample.options, pattern_filler(plan), team, [&](std::uint64_t done, std::uint64_t total) {
    steps.push_back(done);
    all = total;
  });
  CHECK(steps.size() == lay_out_leaf(sample.model, plan, 4096).chunks.size());
  CHECK(std::is_sorted(steps.begin(), steps.end()));
  CHECK(steps.back() == all);
  CHECK(file.committed);

  const TemporaryFolder folder;
  const auto stop = [](std::uint64_t, std::uint64_t) { throw Error(ErrorKind::cancelled, "compress", "stopped"); };
  const auto write = [&] {
    const auto out = create_file(folder.file("a.leaf"));
    write_leaf(*out, sample.model, plan, {}, sample.options, pattern_filler(plan), team, stop);
  };
  expect_error(write, {"stopped"});
  CHECK(folder.names().empty());
}

TEST_CASE("an error while filling reaches the caller and nothing is left") {
  const Sample sample;
  const std::vector<TensorPlan> plan = plan_of(sample.model, sample.format);
  const TemporaryFolder folder;
  for (std::size_t failing = 0; failing < plan.size(); failing++) {
    const FillStrips fill = [&](std::size_t tensor, std::uint64_t, std::uint64_t, std::span<std::byte>) {
      if (tensor == failing) throw Error(ErrorKind::bad_file, "model.safetensors, tensor x", "holds a NaN");
    };
    ThreadTeam team(2);
    const auto write = [&] {
      const auto out = create_file(folder.file("a.leaf"));
      write_leaf(*out, sample.model, plan, {}, sample.options, fill, team, {});
    };
    expect_error(write, {"tensor x: holds a NaN"});
    CHECK(folder.names().empty());
  }
}

TEST_CASE("a full disk or a broken one, at any call, leaves the old file and nothing else") {
  const TemporaryFolder folder;
  const std::string path = folder.file("a.leaf");
  const std::string text = "the old file";
  const auto old = std::as_bytes(std::span(text));
  leafcutter::test::write_whole_file(path, old);
  std::size_t calls = 0;
  {
    const TemporaryFolder other;
    write_with_faults(other.file("a.leaf"), {}, &calls);
    CHECK(other.names() == std::vector<std::string>{"a.leaf"});
  }
  REQUIRE(calls > 10);
  for (std::size_t call = 0; call < calls; call++)
    for (bool after : {false, true})
      for (bool half : {false, true}) {
        CAPTURE(call);
        expect_error(
            [&] {
              write_with_faults(path, {.error_at = call,
                                       .half_written = half,
                                       .and_after = after,
                                       .reason = half ? "No space left on device" : "Input/output error"});
            },
            {path, half ? "No space" : "Input/output"});
        CHECK(folder.names() == std::vector<std::string>{"a.leaf"});
        CHECK(std::ranges::equal(leafcutter::test::read_whole_file(path), old));
      }
  write_with_faults(path, {});
  const auto file = open_file(path);
  CHECK_NOTHROW(read_all(*file));
}

TEST_CASE("a plan that does not fit the model is refused by tensor") {
  const ModelDescription model = small_llama();
  const std::vector<TensorPlan> good = plan_of(model, quant::FormatId::q8);
  const auto lay_out = [&](const std::vector<TensorPlan>& plan) { return lay_out_leaf(model, plan); };
  CHECK_NOTHROW(lay_out(good));
  for (std::size_t i = 0; i < good.size(); i++) {
    const std::string name = tensor_place(good[i].role, good[i].layer);
    CAPTURE(name);
    std::vector<TensorPlan> bad = good;
    bad.erase(bad.begin() + static_cast<std::ptrdiff_t>(i));
    expect_error([&] { lay_out(bad); }, {"tensor " + name});
    bad = good;
    bad.push_back(good[i]);
    expect_error([&] { lay_out(bad); }, {"tensor "});
    for (auto change :
         {+[](TensorPlan& t) { t.rows++; }, +[](TensorPlan& t) { t.k = 0; }, +[](TensorPlan& t) { t.rows = ~std::uint64_t{0}; },
          +[](TensorPlan& t) { t.divisor = 0; }, +[](TensorPlan& t) { t.format = quant::FormatId{77}; }}) {
      bad = good;
      change(bad[i]);
      expect_error([&] { lay_out(bad); }, {name});
    }
  }
  std::vector<TensorPlan> bad = good;
  bad.push_back({TensorRole::position_bias, 0, quant::FormatId::f32, 4, 4, 1});
  expect_error([&] { lay_out(bad); }, {"tensor position_bias"});
  expect_error([&] { lay_out_leaf(model, good, 63); }, {"chunk size"});
  expect_error([&] { lay_out_leaf(model, good, kMaxChunkBytes + 1); }, {"chunk size"});
}

TEST_CASE("a strip that no chunk can hold is refused by tensor") {
  ModelDescription model = shape(64, 1, 2, 65537, 16, true);
  expect_error([&] { lay_out_leaf(model, plan_of(model, quant::FormatId::f32)); },
               {"layer 0 feed_forward_down", "16 rows of 65537 need", "4194304"});
  CHECK_NOTHROW(lay_out_leaf(model, plan_of(model, quant::FormatId::q8)));
}

TEST_CASE("the layout alone tells the sizes of the file without a codec and a tokenizer") {
  Sample sample;
  sample.tokenizer = false;
  const std::vector<std::byte> bytes = sample_bytes(sample);
  const LeafIndex index = lay_out_leaf(sample.model, plan_of(sample.model, sample.format, true), sample.options.chunk_bytes);
  CHECK(index.file_bytes == bytes.size());
  MemoryFile file(bytes);
  const LeafIndex read = read_leaf_index(file);
  REQUIRE(read.chunks.size() == index.chunks.size());
  for (std::size_t c = 0; c < read.chunks.size(); c++) {
    CHECK(read.chunks[c].file_offset == index.chunks[c].file_offset);
    CHECK(read.chunks[c].raw_bytes == index.chunks[c].raw_bytes);
    CHECK(read.chunks[c].raw_bytes <= 4096);
  }
}

TEST_CASE("options out of range are refused") {
  const Sample sample;
  ThreadTeam team(1);
  for (int level : {-1, 0, 10}) {
    Sample bad = sample;
    bad.options.zstd_level = level;
    MemoryNewFile file;
    expect_error([&] { write_sample(file, bad, team); }, {"zstd level"});
    CHECK(file.writes == 0);
  }
  MemoryNewFile file;
  const std::vector<std::byte> section(TokenizerLimits::kSectionBytes + 1);
  const auto plan = plan_of(sample.model, sample.format);
  expect_error([&] { write_leaf(file, sample.model, plan, section, sample.options, pattern_filler(plan), team, {}); }, {"tokenizer"});
}
