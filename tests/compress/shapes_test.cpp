#include "compress/shapes.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "base/file.h"
#include "compress/leaf_reader.h"
#include "tests/support/temporary_folder.h"

using namespace leafcutter;
using namespace leafcutter::compress;

namespace {

std::size_t parts(const ModelDescription& model, bool LayerDescription::*part) {
  return static_cast<std::size_t>(
      std::count_if(model.layers.begin(), model.layers.end(), [&](const LayerDescription& layer) { return layer.*part; }));
}

}  // namespace

TEST_CASE("shapes of known models have exactly their numbers of parameters") {
  const std::pair<const char*, std::uint64_t> kParameters[] = {{"csg-wukong-1b", 1'100'048'384}, {"llama-1.1b", 1'100'048'384},
                                                               {"chuxin-1.6b", 1'652'656'128},   {"chuxin-1.6b-1m", 1'652'656'128},
                                                               {"fox-1-1.6b", 1'665'271'808},    {"smollm2-135m", 134'515'008}};
  for (const auto& [name, parameters] : kParameters) {
    CAPTURE(name);
    const auto model = find_shape(name);
    REQUIRE(model.has_value());
    std::uint64_t sum = 0;
    for (const TensorPlan& tensor : plan_tensors(*model, {})) sum += tensor.rows * tensor.k;
    CHECK(sum == parameters);
  }
  CHECK(find_shape("chuxin-1.6b-1m")->context_length == 1u << 20);
}

TEST_CASE("every name of a shape finds it") {
  for (const char* name : shape_names()) CHECK(find_shape(name).has_value());
  CHECK_FALSE(find_shape("no-such-shape").has_value());
}

TEST_CASE("the five sizes of CPM-Ant have the published numbers of parameters and parts") {
  struct Row {
    const char* name;
    std::uint64_t parameters;
    std::size_t attention, feed_forward, empty;
  };
  constexpr Row kRows[] = {{"cpm-ant-10b", 9'391'624'192, 48, 48, 0},
                           {"cpm-ant-7b", 6'640'050'176, 37, 32, 5},
                           {"cpm-ant-3b", 3'151'026'176, 37, 32, 5},
                           {"cpm-ant-1b", 1'149'865'984, 25, 21, 16},
                           {"cpm-ant-300m", 430'385'152, 25, 21, 16}};
  for (const Row& row : kRows) {
    CAPTURE(row.name);
    const ModelDescription model = find_shape(row.name).value();
    CHECK(parameter_count(model) == row.parameters);
    CHECK(parts(model, &LayerDescription::has_attention) == row.attention);
    CHECK(parts(model, &LayerDescription::has_feed_forward) == row.feed_forward);
    CHECK(std::count_if(model.layers.begin(), model.layers.end(),
                        [](const LayerDescription& l) { return !l.has_attention && !l.has_feed_forward; }) == static_cast<long>(row.empty));
    CHECK(model.layers.front().has_attention);
    validate(model, row.name);
  }
}

TEST_CASE("every shape can be laid out in every format that can be made") {
  for (const char* name : shape_names())
    for (const char* format : {"q4", "q8", "q8row", "f16"}) {
      CAPTURE(name);
      CAPTURE(format);
      const ModelDescription model = find_shape(name).value();
      const LeafIndex index =
          lay_out_leaf(model, plan_tensors(model, {.body = quant::find_format(format)->id, .embedding = {}, .head = {}}));
      CHECK(index.model.layers.size() == model.layers.size());
    }
}

TEST_CASE("synthetic CPM-Ant weights have a variance of 1 under the root of their inputs") {
  const leafcutter::test::TemporaryFolder folder;
  ModelDescription model = find_shape("cpm-ant-300m").value();
  model.dim = 96;
  model.vocab_size = 64;
  for (LayerDescription& layer : model.layers)
    if (layer.has_attention) layer.head_dim = 8;
  ThreadTeam team(2);
  synthesize_model(model, {.body = quant::FormatId::f32, .embedding = {}, .head = {}}, 1, {.chunk_bytes = 0},
                   *create_file(folder.file("a.leaf")), team, {});
  const LeafIndex index = read_leaf_index(*open_file(folder.file("a.leaf")));
  const TensorEntry* q = index.find(TensorRole::attention_q, 0);
  REQUIRE(q);
  CHECK(q->divisor == doctest::Approx(std::sqrt(96.0)));
  CHECK(index.find(TensorRole::feed_forward_down, 0)->divisor == doctest::Approx(std::sqrt(350.0)));
  CHECK(index.find(TensorRole::embedding)->divisor == doctest::Approx(std::sqrt(96.0)));
  const ChunkEntry& chunk = index.chunks[index.modules[q->module].first_chunk];
  std::vector<float> values(q->bytes / sizeof(float));
  REQUIRE(q->bytes <= chunk.raw_bytes);
  read_exactly(*open_file(folder.file("a.leaf")), chunk.file_offset + q->offset, std::as_writable_bytes(std::span(values)), "q");
  double squares = 0;
  for (float value : values) squares += static_cast<double>(value) * value;
  CHECK(squares / static_cast<double>(q->rows * q->k) == doctest::Approx(1).epsilon(0.1));
}
