// A small file of version 1 that must stay readable, and what it holds. Made anew only with LEAFCUTTER_WRITE_GOLDEN=1, which is right only when the version is raised.
#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>

#include "base/half.h"
#include "tests/compress/leaf_bytes.h"
#include "tests/compress/leaf_samples.h"
#include "tests/support/temporary_folder.h"

using namespace leafcutter;
using namespace leafcutter::compress;
using namespace leafcutter::compress::test;

namespace {

const std::filesystem::path kGolden = std::filesystem::path(LEAFCUTTER_SOURCE_DIR) / "tests" / "compress" / "golden" / "v1.leaf";

ModelDescription golden_model() {
  ModelDescription m = small_llama();
  m.name = "golden";
  m.dim = 8;
  m.vocab_size = 20;
  m.tied_head = true;
  m.rope.theta = 50000;
  m.rope.scaling = RopeScaling::llama3;
  m.rope.factor = 8;
  m.rope.original_context = 64;
  m.end_ids = {2, 19};
  m.layers = {layer_of(2, 1, 4, 0), layer_of(0, 0, 0, 5)};
  return m;
}

// f16 weights that are small whole numbers: row + 100 * column, and 1 + i in vectors.
void fill(const TensorPlan& t, std::uint64_t begin, std::uint64_t end, std::span<std::byte> out) {
  if (is_vector_role(t.role)) {
    for (std::uint64_t i = 0; i < t.k; i++) {
      const float value = 1 + static_cast<float>(i);
      std::memcpy(out.data() + 4 * i, &value, 4);
    }
    return;
  }
  std::memset(out.data(), 0, out.size());
  const std::size_t strip_bytes = out.size() / (end - begin);
  for (std::uint64_t row = begin * 16; row < std::min(end * 16, t.rows); row++)
    for (std::uint64_t i = 0; i < t.k; i++) {
      const std::uint16_t value = half_from_float(static_cast<float>(row + 100 * i));
      std::memcpy(out.data() + (row / 16 - begin) * strip_bytes + 2 * (16 * i + row % 16), &value, 2);
    }
}

void write_golden() {
  const ModelDescription model = golden_model();
  const std::vector<TensorPlan> plan = plan_of(model, quant::FormatId::f16);
  const auto file = create_file(kGolden.string());
  ThreadTeam team(1);
  write_leaf(
      *file, model, plan, to_section(small_tokenizer()), {.codec = Codec::zstd},
      [&](std::size_t tensor, std::uint64_t begin, std::uint64_t end, std::span<std::byte> out) { fill(plan[tensor], begin, end, out); },
      team, {});
}

}  // namespace

TEST_CASE("the golden file of version 1 is readable and holds what it held") {
  if (std::getenv("LEAFCUTTER_WRITE_GOLDEN")) write_golden();
  const auto file = open_file(kGolden.string());
  REQUIRE_NOTHROW(read_all(*file));
  const LeafIndex index = read_leaf_index(*file);
  CHECK(file->size() == 24576);
  CHECK(to_json_text(index.model) == to_json_text(golden_model()));
  CHECK(index.modules.size() == 4);
  CHECK(index.tensors.size() == 11);
  CHECK(index.tokenizer_bytes == 165);

  // Each number once as it lies in the file.
  const LeafBytes bytes(leafcutter::test::read_whole_file(kGolden.string()));
  CHECK(bytes.get(0, 8) == 0x1a0a0d464145'4c8c);
  CHECK(bytes.get(8, 4) == 1);
  CHECK(bytes.get(24, 8) == 20480);
  CHECK(bytes.modules() == 4);
  CHECK(bytes.tensors() == 11);
  CHECK(bytes.chunks() == 4);
  CHECK(bytes.get(bytes.tensor(1), 8) == 0x0000'0000'0201'000b);  // attention_q, f16, layout 2, layer 0
  CHECK(bytes.get(bytes.tensor(1) + 16, 8) == 8);
  CHECK(bytes.get(bytes.chunk(0) + 16, 4) == 512);
  CHECK(bytes.get(bytes.chunk(0) + 32, 8) == index.chunks[0].hash);

  std::vector<std::byte> scratch;
  std::vector<float> row(8);
  read_embedding_row(*file, index, 19, scratch, row.data());
  CHECK(row == std::vector<float>{19, 119, 219, 319, 419, 519, 619, 719});

  const TensorEntry* down = index.find(TensorRole::feed_forward_down, 1);
  REQUIRE(down);
  CHECK(down->divisor == 2);
  std::vector<std::byte> blob(index.modules[2].bytes);
  read_chunk(*file, index, 2, blob);
  CHECK(index.chunks[2].codec == Codec::zstd);
  std::uint16_t value;
  std::memcpy(&value, blob.data() + down->offset + 2 * (16 * 4 + 7), 2);
  CHECK(float_from_half(value) == 407);
}
