// What the importer makes of tiny checkpoints in CPM-Ant's original file formats (tests/reference/make_cpm_ant.py): parts, widths, columns of the position bias, divisors, bytes.
#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "compress/checkpoint_source.h"
#include "compress/compress_model.h"
#include "compress/leaf_reader.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"

using namespace leafcutter;
using namespace leafcutter::compress;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

struct Case {
  std::string name, source;
  json golden;
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const fs::directory_entry& entry : fs::directory_iterator(std::string(LEAFCUTTER_SOURCE_DIR) + "/tests/reference/cpm_ant")) {
    std::ifstream in(entry.path() / "golden.json");
    if (!in) continue;
    const json golden = json::parse(in);
    if (!golden.contains("tensors") && !golden.contains("readings")) continue;
    all.push_back(
        {entry.path().filename().string(), (entry.path() / golden["source"].get<std::string>()).lexically_normal().string(), golden});
  }
  return all;
}

LeafIndex compressed(const std::string& source, const CheckpointOptions& import, const std::string& target) {
  const CheckpointSource checkpoint = open_checkpoint(source, import);
  CompressOptions options;
  options.formats.body = quant::FormatId::f32;
  ThreadTeam team(2);
  compress_model(checkpoint, options, *create_file(target), team, {});
  return read_leaf_index(*open_file(target));
}

void check_layers(const ModelDescription& model, const json& wanted) {
  REQUIRE(model.layers.size() == wanted.size());
  for (std::size_t i = 0; i < wanted.size(); i++) {
    CAPTURE(i);
    const LayerDescription& layer = model.layers[i];
    CHECK(layer.has_attention == wanted[i].contains("heads"));
    CHECK(layer.heads == wanted[i].value("heads", 0u));
    CHECK(layer.kv_heads == layer.heads);
    CHECK(layer.head_dim == wanted[i].value("head_dim", 0u));
    CHECK(layer.bias_columns == wanted[i].value("bias_columns", std::vector<std::uint16_t>()));
    CHECK(layer.has_feed_forward == wanted[i].contains("ff_width"));
    CHECK(layer.ff_width == wanted[i].value("ff_width", 0u));
  }
}

void check_tensors(const LeafIndex& index, const json& wanted) {
  REQUIRE(index.tensors.size() == wanted.size());
  for (std::size_t i = 0; i < wanted.size(); i++) {
    CAPTURE(wanted[i].dump());
    const TensorEntry& tensor = index.tensors[i];
    CHECK(role_name(tensor.role) == wanted[i][0].get<std::string>());
    CHECK(tensor.layer == wanted[i][1].get<std::uint32_t>());
    CHECK(tensor.rows == wanted[i][2].get<std::uint64_t>());
    CHECK(tensor.k == wanted[i][3].get<std::uint64_t>());
    CHECK(tensor.divisor == doctest::Approx(wanted[i][4].get<double>()).epsilon(1e-6));
  }
}

void check_index(const LeafIndex& index, const json& wanted) {
  check_layers(index.model, wanted["layers"]);
  check_tensors(index, wanted["tensors"]);
}

std::string reference(const std::string& name) { return std::string(LEAFCUTTER_SOURCE_DIR) + "/tests/reference/cpm_ant/" + name; }

}  // namespace

TEST_CASE("every form of a CPM-Ant checkpoint gives the index that the reference asks for") {
  const test::TemporaryFolder folder;
  const std::vector<Case> all = cases();
  REQUIRE(all.size() >= 14);
  for (const Case& c : all) {
    CAPTURE(c.name);
    if (c.golden.contains("readings")) {
      check_index(compressed(c.source, {}, folder.file("live.leaf")), c.golden["readings"]["live"]);
      check_index(compressed(c.source, {.uncut_divisors = true}, folder.file("uncut.leaf")), c.golden["readings"]["uncut"]);
    } else {
      const LeafIndex index = compressed(c.source, {}, folder.file("model.leaf"));
      check_index(index, c.golden);
      CHECK(index.model.begin_id == 6u);
      CHECK(index.model.end_ids == std::vector<std::uint32_t>{7});
      CHECK(index.model.architecture == "cpm-ant");
    }
  }
}

TEST_CASE("a weights file may be named instead of its folder") {
  for (const char* path :
       {"live/live.pt", "live-real-shape/live-real-shape.pt", "hf-old-keys/pytorch_model.bin", "hf-equal-bytes/model.safetensors"}) {
    CAPTURE(path);
    CHECK(looks_like_checkpoint(reference(path)));
    CHECK(open_checkpoint(reference(path)).model.architecture == "cpm-ant");
  }
}

TEST_CASE("heads that nothing identifies are refused; a removed part that came back is left out with a note") {
  const test::TemporaryFolder folder;
  fs::copy(reference("sprune"), folder.file("sprune"));
  const CheckpointSource source = open_checkpoint(folder.file("sprune"));
  const auto told = [&](const std::string& part) {
    return std::any_of(source.notes.begin(), source.notes.end(),
                       [&](const std::string& note) { return note.find(part) != std::string::npos; });
  };
  CHECK(told("encoder.layers.1.self_att.self_attention.project_q.weight was left out"));
  fs::remove(folder.file("sprune/masks.pt"));
  test::expect_error([&] { open_checkpoint(folder.file("sprune")); }, {"sprune.pt, layer 0", "kept 3 of 5 heads", "masks.pt"});
  fs::remove(folder.file("sprune/sprune.pt.cnofig.json"));
  test::expect_error([&] { open_checkpoint(folder.file("sprune")); }, {"sprune.pt", "tensor encoder.layers.0.", "expected"});
}

TEST_CASE("uncut divisors are for files whose divisors are not in the weights") {
  test::expect_error([&] { open_checkpoint(reference("hf-old-keys"), {.uncut_divisors = true}); }, {"--divisors uncut", "Hugging Face"});
  const std::string llama = std::string(LEAFCUTTER_SOURCE_DIR) + "/tests/reference/llama/f32-gqa";
  test::expect_error([&] { open_checkpoint(llama, {.uncut_divisors = true}); }, {"--divisors uncut", "no CPM-Ant"});
  const std::string gguf = std::string(LEAFCUTTER_SOURCE_DIR) + "/tests/reference/llama/gguf-f32/model.gguf";
  test::expect_error([&] { open_checkpoint(gguf, {.uncut_divisors = true}); }, {"--divisors uncut", "no CPM-Ant"});
}

TEST_CASE("a folder of jieba is for CPM-Ant alone") {
  for (const char* model : {"f32-gqa", "gguf-f32/model.gguf"})
    test::expect_error(
        [&] { open_checkpoint(std::string(LEAFCUTTER_SOURCE_DIR) + "/tests/reference/llama/" + model, {.jieba_folder = "/"}); },
        {"--jieba", "no CPM-Ant"});
}
