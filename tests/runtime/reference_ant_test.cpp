// What a plain implementation in double precision says about tiny CPM-Ant checkpoints in original file formats (tests/reference/make_cpm_ant.py), and what we say.
#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "runtime/beam_search.h"
#include "runtime/prompt_rows.h"
#include "runtime/score.h"
#include "tests/runtime/test_models.h"
#include "tests/support/temporary_folder.h"

using namespace leafcutter;
using namespace leafcutter::testing;
namespace fs = std::filesystem;
using nlohmann::json;
using runtime::Ids;

namespace {

struct Golden {
  std::string name, source;
  json content;
};

std::vector<Golden> goldens() {
  std::vector<Golden> all;
  for (const fs::directory_entry& entry : fs::directory_iterator(ant_reference_folder())) {
    std::ifstream in(entry.path() / "golden.json");
    if (!in) continue;
    json content = json::parse(in);
    // Where CPM-Live and the network that was trained disagree on divisors, the default is CPM-Live's.
    if (content.contains("readings")) content.update(json(content["readings"]["live"]));
    all.push_back({entry.path().filename().string(), (entry.path() / content["source"].get<std::string>()).lexically_normal().string(),
                   std::move(content)});
  }
  return all;
}

std::unique_ptr<runtime::Model> load(const std::string& path, runtime::LoadOptions options) {
  options.threads = 2;
  return runtime::Model::load(path, options);
}

// The rows of a run as golden.json describes it; those of its positions want logits.
std::vector<runtime::StepRow> rows_of(const runtime::Model& model, const json& run, std::uint32_t sequence) {
  std::vector<runtime::StepRow> rows = runtime::slot_rows(model, run["task"], sequence);
  const std::size_t slots = rows.size();
  const Ids ids = run["ids"];
  for (std::size_t i = 0; i < ids.size(); i++) {
    rows.push_back(runtime::text_row(model, ids[i], slots + i, sequence, false));
    rows.back().context = i < run["context"].get<std::size_t>();
    if (run.contains("segments")) rows.back().segment = run["segments"][i];
  }
  for (const std::size_t position : run["positions"]) rows[slots + position].wants_logits = true;
  return rows;
}

struct LogitError {
  double difference = 0, largest = 0;
  void add(const json& want, std::span<const float> got) {
    REQUIRE(want.size() == got.size());
    for (std::size_t v = 0; v < got.size(); v++) {
      difference = std::max(difference, std::abs(want[v].get<double>() - got[v]));
      largest = std::max(largest, std::abs(want[v].get<double>()));
    }
  }
  double share() const { return difference / largest; }
};

double error_of(runtime::Model& model, const json& runs) {
  const std::size_t vocabulary = model.index().model.vocab_size;
  std::vector<runtime::StepRow> rows;
  std::size_t wanted = 0;
  for (std::uint32_t s = 0; s < runs.size(); s++) {
    model.truncate(s, 0);
    const auto part = rows_of(model, runs[s], s);
    rows.insert(rows.end(), part.begin(), part.end());
    wanted += runs[s]["positions"].size();
  }
  std::vector<float> logits(wanted * vocabulary);
  model.step(rows, logits);
  LogitError error;
  std::size_t at = 0;
  for (const json& run : runs)
    for (const json& want : run["logits"]) error.add(want, std::span(logits).subspan(at++ * vocabulary, vocabulary));
  return error.share();
}

}  // namespace

TEST_CASE("f32 logits of CPM-Ant are those of the reference: prompts, targets, segments, long distances, batches, blocks" *
          doctest::skip(!fs::exists(ant_reference_folder()))) {
  const test::TemporaryFolder folder;
  const std::vector<Golden> all = goldens();
  REQUIRE(all.size() >= 10);
  for (const Golden& golden : all) {
    CAPTURE(golden.name);
    const std::string path = compress_to(golden.source, folder.file("model.leaf"), in_format(quant::FormatId::f32));
    for (const std::uint64_t block : {0, 7}) {
      runtime::LoadOptions options;
      options.sequences = golden.content["batch"].size();
      options.ctx_size = 2400;
      options.rows_per_step = block;
      const auto model = load(path, options);
      for (const json& run : golden.content["runs"]) {
        CAPTURE(run["ids"].size());
        CAPTURE(run["context"].get<int>());
        CHECK(error_of(*model, json::array({run})) <= golden.content["tolerance"]);
      }
      CHECK(error_of(*model, golden.content["batch"]) <= golden.content["tolerance"]);
    }
  }
}

TEST_CASE("greedy tokens, scores and beams of CPM-Ant are those of the reference" * doctest::skip(!fs::exists(ant_reference_folder()))) {
  const test::TemporaryFolder folder;
  const std::vector<Golden> all = goldens();
  REQUIRE(all.size() >= 10);
  for (const Golden& golden : all) {
    CAPTURE(golden.name);
    const std::string path = compress_to(golden.source, folder.file("model.leaf"), in_format(quant::FormatId::f32));
    for (const json& greedy : golden.content["greedy"]) {
      const auto model = load(path, {});
      runtime::GenerateOptions options;
      options.sampling.temperature = 0;
      options.max_tokens = greedy["ids"].size();
      options.ignore_end = true;
      options.task = greedy["task"];
      CHECK(runtime::generate(*model, Ids(greedy["prompt"]), options).ids == Ids(greedy["ids"]));
    }
    for (const json& score : golden.content["score"]) {
      const Ids prompt = score["prompt"], ids = score["ids"];
      const std::vector<Ids> options = {Ids(ids.begin(), ids.begin() + 2), ids, Ids(ids.rbegin(), ids.rend())};
      runtime::LoadOptions to;
      runtime::plan_for_score(to, options, 40 + prompt.size());
      const auto found = runtime::score_options(*load(path, to), prompt, options, score["task"]);
      REQUIRE(found[1].tokens.size() == ids.size());
      for (std::size_t i = 0; i < ids.size(); i++)
        CHECK(found[1].tokens[i] == doctest::Approx(score["logprobs"][i].get<double>()).epsilon(1e-3));
      CHECK(found[0].tokens == std::vector<double>(found[1].tokens.begin(), found[1].tokens.begin() + 2));
    }
    for (const json& search : golden.content["beams"]) {
      CAPTURE(search["flavour"].get<std::string>());
      runtime::BeamOptions options;
      options.beams = search["beams"];
      options.max_tokens = search["max_tokens"];
      options.preset = search["flavour"] == "hf" ? runtime::Preset::hf : runtime::Preset::cpm_live;
      options.repetition_penalty = search["penalty"];
      options.task = search["task"];
      const Ids prompt = search["prompt"];
      runtime::LoadOptions to;
      runtime::plan_for_beams(to, options, 40 + prompt.size());
      const auto model = load(path, to);
      const auto found = runtime::beam_search(*model, prompt, options);
      Ids ids = found.ids;
      if (found.finish_reason == "stop") ids.pop_back();  // the reference leaves the end token out
      CHECK(ids == Ids(search["hypotheses"][0]["ids"]));
      CHECK(runtime::beam_search(*model, prompt, options).ids == found.ids);
    }
  }
}
