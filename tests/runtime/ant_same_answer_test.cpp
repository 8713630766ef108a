// CPM-Ant: what holds of LLaMA holds where all rows of a prompt see each other, layers differ, and sequences share keys.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>

#include "base/error.h"
#include "compress/leaf_reader.h"
#include "offload/host_memory.h"
#include "runtime/beam_search.h"
#include "runtime/position_bias.h"
#include "runtime/prefix_cache.h"
#include "runtime/score.h"
#include "tests/runtime/ant_models.h"
#include "tests/support/sanitized.h"
#include "tests/support/temporary_folder.h"

using namespace leafcutter;
using namespace leafcutter::testing;
using runtime::Ids;

namespace {

Ids some_ids(std::size_t count, std::uint32_t salt = 0) {
  Ids ids = {6};
  for (std::uint32_t i = 1; i < count; i++) ids.push_back(10 + (i * 7919 + salt * 104729) % 200);
  return ids;
}

runtime::LoadOptions options_with(std::size_t threads) {
  runtime::LoadOptions options;
  options.threads = threads;
  options.ctx_size = 160;
  options.logit_rows = 40;
  return options;
}

// Of the last 40 ids, given all at once; `context`: as a prompt, else as targets.
std::vector<float> logits_of(runtime::Model& model, const Ids& ids, bool context) {
  std::vector<runtime::StepRow> rows = runtime::slot_rows(model, 1);
  for (std::size_t i = 0; i < ids.size(); i++) {
    rows.push_back(runtime::text_row(model, ids[i], rows.size(), 0, i + 40 >= ids.size()));
    rows.back().context = context;
  }
  std::vector<float> logits(40 * model.index().model.vocab_size);
  model.truncate(0, 0);
  model.step(rows, logits);
  return logits;
}

std::vector<float> last_logits(runtime::Model& model, std::span<const std::uint32_t> prompt) {
  std::vector<float> logits(model.index().model.vocab_size);
  model.step(runtime::prompt_rows(model, prompt, runtime::kTextTask), logits);
  return logits;
}

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

// With the least budget that it takes, so that about all is streamed. No budget below what is charged already can work, and with AddressSanitizer that is hundreds of MiB.
std::unique_ptr<runtime::Model> load_tightly(const std::string& path, runtime::LoadOptions options) {
  constexpr std::uint64_t kStep = 1 << 15, kMost = 1 << 28;
  const compress::LeafIndex index = compress::read_leaf_index(*open_file(path));
  for (int attempt = 0; attempt < 20; attempt++) {
    const std::uint64_t charged = offload::charged_bytes();
    const offload::HostMemory host = offload::host_memory();
    // A plan costs less than a load: what is refused now will be then, or nearly.
    std::uint64_t least = 0;
    for (; least < kMost; least += kStep) {
      options.memory = SizeText{.bytes = charged + least};
      try {
        runtime::plan_model(index, options, host, charged, nullptr);
        break;
      } catch (const Error& e) { REQUIRE(e.kind() == ErrorKind::out_of_budget); }
    }
    for (std::uint64_t more = least - std::min<std::uint64_t>(least, 16 * kStep); more < kMost; more += kStep) {
      options.memory = SizeText{.bytes = charged + more};
      try {
        auto model = runtime::Model::load(path, options);
        if (!model->plan().streamed.empty()) return model;
        break;  // less is charged than before
      } catch (const Error& e) { REQUIRE(e.kind() == ErrorKind::out_of_budget); }
    }
  }
  FAIL("no budget works");
  return nullptr;
}

}  // namespace

TEST_CASE("buckets of distances are T5's: exact, then by logarithm, then one for all") {
  const auto bucket = [](std::int64_t distance) { return runtime::distance_bucket(distance, 512, 2048); };
  CHECK(bucket(0) == 0);
  CHECK(bucket(-1) == 1);
  CHECK(bucket(1) == 257);
  CHECK(bucket(-127) == 127);
  for (const auto& [n, want] : std::initializer_list<std::pair<int, std::uint32_t>>{
           {128, 128}, {130, 128}, {131, 129}, {256, 160}, {512, 192}, {1024, 224}, {2004, 254}, {2005, 255}, {100000, 255}}) {
    CHECK(bucket(-n) == want);
    CHECK(bucket(n) == want + 256);
  }
}

TEST_CASE("CPM-Ant: threads, blocks, chunks, codecs and budgets give the same bits, for prompts and for targets") {
  const test::TemporaryFolder folder;
  const Ids ids = some_ids(150);
  for (const quant::FormatId format : {quant::FormatId::q4, quant::FormatId::q8, quant::FormatId::f32}) {
    if (test::kSanitized && format != quant::FormatId::q4) continue;
    CAPTURE(std::string(quant::format_of(format).name));
    const std::string whole = random_ant_to(folder.file("whole.leaf"), in_format(format));
    const std::string pieces = random_ant_to(folder.file("pieces.leaf"), in_format(format, 8192));
    const std::string coded = random_ant_to(folder.file("coded.leaf"), in_format(format, 8192, compress::Codec::zstd));
    std::vector<float> want[2];
    for (const bool context : {false, true}) want[context] = logits_of(*runtime::Model::load(whole, options_with(1)), ids, context);
    CHECK(!same_bits(want[0], want[1]));
    for (const std::size_t threads : {1, 2, 3})
      for (const std::uint64_t block : {0, 1, 17, 64}) {
        if (test::kSanitized && threads != 2) continue;
        runtime::LoadOptions options = options_with(threads);
        options.rows_per_step = block;
        const auto model = runtime::Model::load(whole, options);
        for (const bool context : {false, true}) CHECK(same_bits(want[context], logits_of(*model, ids, context)));
      }
    for (const std::string& path : {pieces, coded})
      for (const std::uint64_t block : {0, 20}) {
        runtime::LoadOptions options = options_with(2);
        options.rows_per_step = block;
        const auto model = load_tightly(path, options);
        const std::uint64_t before = model->pager_stats().streamed_chunks;
        for (const bool context : {false, true}) CHECK(same_bits(want[context], logits_of(*model, ids, context)));
        // One pass over the weights for each prompt, however many blocks it has.
        CHECK(model->pager_stats().streamed_chunks - before == 2 * model->plan().streamed.size());
      }
  }
}

TEST_CASE("a LLaMA prompt of several blocks goes through the layers once where the plan has room, with the same bits") {
  const test::TemporaryFolder folder;
  const std::string path = synthesize_to(folder.file("model.leaf"), in_format(quant::FormatId::q4, 65536));
  std::vector<runtime::StepRow> rows;
  for (std::uint32_t i = 0; i < 60; i++) rows.push_back({i * 31 % 300, i, 0, i + 1 == 60});
  std::vector<float> want(300), got(300);
  runtime::LoadOptions options = options_with(2);
  runtime::Model::load(path, options)->step(rows, want);
  options.rows_per_step = 16;
  for (const std::uint64_t pass : {16, 60}) {
    options.rows_per_pass = pass;
    const auto model = load_tightly(path, options);
    model->step(rows, got);
    CHECK(same_bits(want, got));
    CHECK(model->pager_stats().streamed_chunks == (pass == 16 ? 4 : 1) * model->plan().streamed.size());
  }
}

TEST_CASE("a prompt that is too long for one pass, late context and unknown slots are refused by name") {
  const test::TemporaryFolder folder;
  const std::string path = random_ant_to(folder.file("model.leaf"), in_format(quant::FormatId::q4));
  runtime::LoadOptions options = options_with(1);
  options.prompt_positions = 50;
  options.rows_per_step = 16;
  const auto model = runtime::Model::load(path, options);
  std::vector<float> logits(model->index().model.vocab_size);
  CHECK_THROWS_WITH_AS(last_logits(*model, some_ids(100)), doctest::Contains("see each other"), Error);
  CHECK(model->cached_positions(0) == 0);
  last_logits(*model, some_ids(40));
  runtime::StepRow row = runtime::text_row(*model, 10, model->cached_positions(0), 0, true);
  row.context = true;
  CHECK_THROWS_WITH_AS(model->step({&row, 1}, logits), doctest::Contains("context"), Error);
  row.context = false;
  row.segment = 4;
  CHECK_THROWS_WITH_AS(model->step({&row, 1}, logits), doctest::Contains("segment 4 of 4"), Error);
  row.segment = 0;
  row.prompt_slot = true;
  row.id = 18;
  CHECK_THROWS_WITH_AS(model->step({&row, 1}, logits), doctest::Contains("prompt slot 18 of 18"), Error);
  CHECK_THROWS_WITH_AS(runtime::slot_rows(*model, 3), doctest::Contains("--task 3"), Error);
}

TEST_CASE("a prefix of CPM-Ant is used again for the very same prompt only, and changes no bit") {
  const test::TemporaryFolder folder;
  const auto model = runtime::Model::load(random_ant_to(folder.file("model.leaf"), in_format(quant::FormatId::q8)), options_with(2));
  const Ids prompt = some_ids(30), longer = some_ids(31);
  const std::vector<float> want = last_logits(*model, prompt);
  model->truncate(0, 0);
  runtime::PrefixCache cache(*model);
  CHECK(cache.rest_of(prompt).size() == 30);
  CHECK(same_bits(want, last_logits(*model, prompt)));
  CHECK(cache.rest_of(prompt).size() == 1);
  CHECK(same_bits(want, last_logits(*model, std::span(prompt).last(1))));
  CHECK(cache.rest_of(longer).size() == 31);
  CHECK(model->cached_positions(0) == 0);
  last_logits(*model, longer);
  CHECK(cache.rest_of(std::span(longer).first(30)).size() == 30);
}

TEST_CASE("options are scored as if each were alone") {
  const test::TemporaryFolder folder;
  for (const bool ant : {true, false}) {
    const std::string path = ant ? random_ant_to(folder.file("model.leaf"), in_format(quant::FormatId::q8))
                                 : synthesize_to(folder.file("model.leaf"), in_format(quant::FormatId::q8));
    const Ids prompt = some_ids(20);
    std::vector<Ids> options;
    for (std::uint32_t o = 0; o < 19; o++) options.push_back(some_ids(1 + o * 3 % 11, o));
    runtime::LoadOptions load = options_with(2);
    runtime::plan_for_score(load, options, 40);
    const auto model = runtime::Model::load(path, load);
    const auto scores = runtime::score_options(*model, prompt, options);
    REQUIRE(scores.size() == options.size());
    const auto alone = runtime::Model::load(path, options_with(1));
    for (std::size_t o = 0; o < options.size(); o++) {
      alone->truncate(0, 0);
      std::vector<float> logits = last_logits(*alone, prompt);
      REQUIRE(scores[o].tokens.size() == options[o].size());
      double sum = 0;
      for (std::size_t i = 0; i < options[o].size(); i++) {
        double all = 0;
        for (const float v : logits) all += std::exp(double{v});
        CHECK(scores[o].tokens[i] == doctest::Approx(logits[options[o][i]] - std::log(all)).epsilon(1e-9));
        sum += scores[o].tokens[i];
        const runtime::StepRow row = runtime::text_row(*alone, options[o][i], alone->cached_positions(0), 0, true);
        alone->step({&row, 1}, logits);
      }
      CHECK(scores[o].logprob == doctest::Approx(sum));
    }
    const std::vector<Ids> none = {{}};
    CHECK_THROWS_AS(runtime::score_options(*model, prompt, none), Error);
  }
}

TEST_CASE("beams that share keys find what beams from empty caches find") {
  const test::TemporaryFolder folder;
  for (const bool ant : {true, false}) {
    CAPTURE(ant);
    const std::string path = ant ? random_ant_to(folder.file("model.leaf"), in_format(quant::FormatId::q8))
                                 : synthesize_to(folder.file("model.leaf"), in_format(quant::FormatId::q8));
    const Ids prompt = some_ids(25);
    runtime::BeamOptions search;
    search.beams = 4;
    search.max_tokens = 12;
    search.preset = runtime::Preset::hf;
    search.ignore_end = true;
    runtime::LoadOptions load = options_with(2);
    runtime::plan_for_beams(load, search, 40);
    load.ctx_size = 0;
    const auto model = runtime::Model::load(path, load);
    const auto alone = runtime::Model::load(path, options_with(1));
    // Without ends and penalties the search is: the best sums of log-probabilities, `beams` of them at each length.
    struct Beam {
      double sum;
      Ids ids;
    };
    std::vector<Beam> beams = {{0, {}}};
    for (std::uint64_t length = 0; length < search.max_tokens; length++) {
      std::vector<Beam> next;
      for (const Beam& beam : beams) {
        alone->truncate(0, 0);
        std::vector<float> logits = last_logits(*alone, prompt);
        for (const std::uint32_t id : beam.ids) {
          const runtime::StepRow row = runtime::text_row(*alone, id, alone->cached_positions(0), 0, true);
          alone->step({&row, 1}, logits);
        }
        double all = 0;
        for (const float v : logits) all += std::exp(double{v});
        for (std::uint32_t id = 0; id < logits.size(); id++) {
          next.push_back({beam.sum + logits[id] - std::log(all), beam.ids});
          next.back().ids.push_back(id);
        }
      }
      std::partial_sort(next.begin(), next.begin() + search.beams, next.end(), [](const Beam& a, const Beam& b) { return a.sum > b.sum; });
      next.resize(search.beams);
      beams = next;
    }
    const auto found = runtime::beam_search(*model, prompt, search);
    CHECK(found.ids == beams[0].ids);
    CHECK(found.finish_reason == "length");
    CHECK(runtime::beam_search(*model, prompt, search).ids == found.ids);  // from a used cache
  }
}

TEST_CASE("f32 activations show what the weights alone lose") {
  const test::TemporaryFolder folder;
  const Ids ids = some_ids(60);
  const auto far = [](const std::vector<float>& a, const std::vector<float>& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); i++) sum += std::pow(double{a[i]} - b[i], 2);
    return std::sqrt(sum / static_cast<double>(a.size()));
  };
  runtime::LoadOptions options = options_with(2);
  options.kv_type = kernels::KvType::f32;
  const auto exact =
      logits_of(*runtime::Model::load(random_ant_to(folder.file("f32.leaf"), in_format(quant::FormatId::f32)), options), ids, false);
  const std::string path = random_ant_to(folder.file("q8.leaf"), in_format(quant::FormatId::q8));
  const double as_run = far(exact, logits_of(*runtime::Model::load(path, options), ids, false));
  options.f32_activations = true;
  const double weights_alone = far(exact, logits_of(*runtime::Model::load(path, options), ids, false));
  CHECK(weights_alone > 0);
  CHECK(weights_alone < 0.95 * as_run);
}
