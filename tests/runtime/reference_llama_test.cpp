// What transformers says about tiny checkpoints in original file formats (tests/reference/make_llama.py), and what we say.
#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "runtime/generate.h"
#include "tests/runtime/test_models.h"
#include "tests/support/temporary_folder.h"

using namespace leafcutter;
using namespace leafcutter::testing;
namespace fs = std::filesystem;

namespace {

struct Golden {
  std::string name, source;
  std::vector<std::uint32_t> prompt, greedy;
  std::vector<std::vector<float>> logits;
  double tolerance;
};

std::vector<Golden> goldens() {
  std::vector<Golden> all;
  for (const fs::directory_entry& entry : fs::directory_iterator(reference_folder())) {
    std::ifstream in(entry.path() / "golden.json");
    if (!in) continue;
    const auto json = nlohmann::json::parse(in);
    all.push_back({entry.path().filename().string(), (entry.path() / json["source"].get<std::string>()).lexically_normal().string(),
                   json["prompt"], json["greedy"], json["logits"], json["tolerance"]});
  }
  return all;
}

std::vector<runtime::StepRow> all_wanting(const std::vector<std::uint32_t>& ids) {
  std::vector<runtime::StepRow> rows;
  for (std::size_t i = 0; i < ids.size(); i++) rows.push_back({ids[i], i, 0, true});
  return rows;
}

struct LogitError {
  double largest = 0;  // difference, as a share of the largest logit
  double rms = 0;      // as a share of the root mean square of the logits
};

LogitError logit_error(runtime::Model& model, const Golden& golden) {
  const std::size_t vocabulary = model.index().model.vocab_size;
  REQUIRE(vocabulary == golden.logits[0].size());
  std::vector<float> logits(golden.prompt.size() * vocabulary);
  model.truncate(0, 0);
  model.step(all_wanting(golden.prompt), logits);
  double error = 0, largest = 0, error_squares = 0, squares = 0;
  for (std::size_t p = 0; p < golden.prompt.size(); p++)
    for (std::size_t v = 0; v < vocabulary; v++) {
      const double want = golden.logits[p][v], difference = logits[p * vocabulary + v] - want;
      error = std::max(error, std::abs(difference));
      largest = std::max(largest, std::abs(want));
      error_squares += difference * difference;
      squares += want * want;
    }
  return {error / largest, std::sqrt(error_squares / squares)};
}

double error_of(runtime::Model& model, const Golden& golden) { return logit_error(model, golden).largest; }

std::unique_ptr<runtime::Model> load(const std::string& path) {
  runtime::LoadOptions options;
  options.threads = 2;
  options.logit_rows = 16;
  options.needed_positions = 64;
  return runtime::Model::load(path, options);
}

}  // namespace

TEST_CASE("f32 logits and greedy tokens are those of transformers for every reference checkpoint") {
  const test::TemporaryFolder folder;
  const std::vector<Golden> all = goldens();
  REQUIRE(all.size() >= 15);
  for (const Golden& golden : all) {
    CAPTURE(golden.name);
    const auto model = load(compress_to(golden.source, folder.file("model.leaf"), in_format(quant::FormatId::f32)));
    CHECK(error_of(*model, golden) <= golden.tolerance);
    model->truncate(0, 0);
    runtime::GenerateOptions options;
    options.sampling.temperature = 0;
    options.max_tokens = golden.greedy.size();
    options.ignore_end = true;
    CHECK(runtime::generate(*model, golden.prompt, options).ids == golden.greedy);
  }
}

TEST_CASE("keep gives the logits of the file's own weights up to the rounding of activations") {
  const test::TemporaryFolder folder;
  compress::CompressOptions keep;
  keep.formats.keep = true;
  for (const Golden& golden : goldens()) {
    CAPTURE(golden.name);
    const auto model = load(compress_to(golden.source, folder.file("model.leaf"), keep));
    const bool blocks = golden.name.find("_") != std::string::npos;  // int8 activations and a KV cache of f16
    CHECK(error_of(*model, golden) <= (blocks ? 4e-2 : 4e-3));
  }
}

TEST_CASE("quantized formats stay near") {
  const test::TemporaryFolder folder;
  // Root mean squares, twice what these little random models show: they amplify errors, having no directions that matter more than others.
  const std::pair<quant::FormatId, double> bounds[] = {{quant::FormatId::q8, 0.06},
                                                       {quant::FormatId::q8row, 0.06},
                                                       {quant::FormatId::q4, 0.6},
                                                       {quant::FormatId::f16, 1e-3},
                                                       {quant::FormatId::bf16, 8e-3}};
  for (const Golden& golden : goldens()) {
    if (golden.name != "f32-gqa" && golden.name != "odd-widths-f16") continue;
    CAPTURE(golden.name);
    for (const auto& [format, bound] : bounds) {
      CAPTURE(std::string(quant::format_of(format).name));
      CHECK(logit_error(*load(compress_to(golden.source, folder.file("model.leaf"), in_format(format))), golden).rms <= bound);
    }
  }
}
