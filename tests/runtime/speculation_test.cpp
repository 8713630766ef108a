// Drafts never change what comes out: tokens, texts, log-probabilities and what the cache holds afterwards are those of one row a step.
#include "runtime/speculation.h"

#include <doctest/doctest.h>

#include <random>

#include "base/error.h"
#include "runtime/draft_model.h"
#include "runtime/generate.h"
#include "runtime/prefix_cache.h"
#include "tests/runtime/ant_models.h"
#include "tests/runtime/half_streamed.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"

using namespace leafcutter;
using namespace leafcutter::testing;
using runtime::Lookup;

namespace {

using Ids = std::vector<std::uint32_t>;

const Ids kPrompt = {3, 17, 250, 99, 4, 4, 120, 7, 33, 201, 8, 11, 3, 17, 250};

runtime::LoadOptions options_for(std::uint64_t positions = 120) {
  runtime::LoadOptions options;
  options.threads = 2;
  options.ctx_size = positions;
  runtime::plan_for_speculation(options, Lookup::always, true, runtime::kMostDrafts);
  return options;
}

// The reference model with a tokenizer: id i is spelled "i." with `mark` in front; `end` ends an answer.
std::string spelled_model(const std::string& target, std::optional<std::uint32_t> end = {}, const std::string& mark = {},
                          std::uint32_t tokens = 300) {
  compress::CheckpointSource source = compress::open_checkpoint(reference_folder() + "/f32-gqa");
  source.model.end_ids.clear();
  compress::TokenizerData& data = source.tokenizer.emplace();
  for (std::uint32_t id = 0; id < tokens; id++) data.tokens.push_back(mark + std::to_string(id) + ".");
  data.kinds.assign(tokens, compress::TokenKind::normal);
  data.end_id = end;
  const auto file = create_file(target);
  ThreadTeam team(2);
  compress::compress_model(source, in_format(quant::FormatId::q8), *file, team, {});
  return target;
}

runtime::GenerateOptions greedy(std::uint64_t tokens = 60) {
  runtime::GenerateOptions options;
  options.max_tokens = tokens;
  options.sampling.temperature = 0;
  return options;
}

runtime::GenerateOptions sampled(float temperature, std::uint64_t seed) {
  runtime::GenerateOptions options = greedy();
  options.sampling.temperature = temperature;
  options.sampling.seed = seed;
  return options;
}

struct Case {
  const char* name;
  runtime::GenerateOptions options;
};

std::vector<Case> cases() {
  std::vector<Case> all = {{"greedy", greedy()}, {"sampled", sampled(0.7f, 3)}, {"hot", sampled(1.5f, 4)}};
  runtime::GenerateOptions penalty = sampled(0.5f, 5);
  penalty.sampling.repetition_penalty = 1.4f;
  penalty.sampling.repetition_window = 9;
  all.push_back({"penalty", penalty});
  penalty.preset = runtime::Preset::cpm_live;
  penalty.sampling.repetition_window = 0;
  penalty.sampling.temperature_first = true;
  all.push_back({"cpm-live", penalty});
  runtime::GenerateOptions logprobs = sampled(0.6f, 6);
  logprobs.logprobs = 3;
  all.push_back({"logprobs", logprobs});
  for (const std::uint64_t tokens : {1, 2, 3, 17}) all.push_back({"short", greedy(tokens)});
  return all;
}

struct Answer {
  runtime::GenerationResult result;
  std::vector<double> logprobs;
  std::uint64_t cached = 0;
};

Answer answer_of(runtime::Model& model, const Ids& prompt, const runtime::GenerateOptions& options) {
  Answer answer;
  model.truncate(0, 0);
  answer.result = runtime::generate(model, prompt, options, [&](const runtime::GeneratedToken& token) {
    answer.logprobs.push_back(token.logprob);
    for (const runtime::TokenLogprob& top : token.top) answer.logprobs.push_back(top.logprob);
  });
  answer.cached = model.cached_positions(0);
  return answer;
}

void check_same(const Answer& want, const Answer& got) {
  CHECK(got.result.ids == want.result.ids);
  CHECK(got.result.text == want.result.text);
  CHECK(got.result.finish_reason == want.result.finish_reason);
  CHECK(got.logprobs == want.logprobs);
  CHECK(got.cached == want.cached);
}

// Every case with look-up, with each of these draft models, and with both.
std::uint64_t check_all(runtime::Model& model, const Ids& prompt, std::initializer_list<runtime::DraftModel*> drafts) {
  std::uint64_t accepted = 0;
  for (const auto& [name, options] : cases()) {
    CAPTURE(name);
    const Answer want = answer_of(model, prompt, options);
    const auto compare = [&](const runtime::SpeculationOptions& speculation) {
      runtime::GenerateOptions with = options;
      with.speculation = speculation;
      const Answer got = answer_of(model, prompt, with);
      check_same(want, got);
      accepted += got.result.speculation.lookup.accepted + got.result.speculation.model.accepted;
    };
    compare({Lookup::always});
    compare({Lookup::automatic});
    for (runtime::DraftModel* draft : drafts) {
      for (const std::uint64_t tokens : {0, 1, 3, 7, 15}) compare({Lookup::off, draft, tokens});
      compare({Lookup::automatic, draft, 0});
      compare({Lookup::always, draft, 5});
    }
  }
  return accepted;
}

// Lets a text come, as if a model wrote it on a machine where a step takes a second and each row more this share of it.
double tokens_per_step_time(runtime::Speculator& speculator, const Ids& text, std::size_t prompt, double row) {
  double seconds = 0;
  speculator.begin(std::span(text).first(prompt), 2, prompt, 1 + row * static_cast<double>(prompt));
  std::size_t there = prompt + 1;  // the prompt's own step gave one
  while (there < text.size()) {
    const auto drafts = speculator.draft(std::span(text).first(there), text.size() - there - 1, {});
    const double took = 1 + row * static_cast<double>(drafts.size());
    speculator.step_took(took);
    seconds += took;
    std::size_t right = 0;
    while (right < drafts.size() && drafts[right] == text[there + right]) right++;
    speculator.verified(right, right < drafts.size());
    there += right + 1;
  }
  return static_cast<double>(text.size() - prompt - 1) / seconds;
}

}  // namespace

TEST_CASE("look-up has three names, and another one is an error that tells them") {
  CHECK(runtime::lookup_named("auto") == Lookup::automatic);
  CHECK(runtime::lookup_named("on") == Lookup::always);
  CHECK(runtime::lookup_named("off") == Lookup::off);
  for (const std::string name : {"", "On", "always"})
    test::expect_error([&] { runtime::lookup_named(name); }, {"lookup", "\"" + name + "\"", "auto, on or off"});
}

TEST_CASE("tokens are the same with drafts from the text, a good draft model and a bad one; resident and streamed") {
  const test::TemporaryFolder folder;
  const std::string path = synthesize_to(folder.file("model.leaf"), in_format(quant::FormatId::q4, 65536));
  const std::string other = spelled_model(folder.file("other.leaf"));
  runtime::LoadOptions options = options_for();
  runtime::DraftModel same(path, runtime::plan_draft_model(options, path, path));
  runtime::LoadOptions beside_other = options_for();
  runtime::DraftModel bad(other, runtime::plan_draft_model(beside_other, path, other));
  const auto resident = runtime::Model::load(path, options_for());
  REQUIRE(resident->plan().streamed.empty());
  CHECK(check_all(*resident, kPrompt, {&same, &bad}) > 500);
  const auto streamed = load_half(path, options_for());
  CHECK(check_all(*streamed, kPrompt, {&same, &bad}) > 500);
}

TEST_CASE("CPM-Ant: drafts are targets behind the prompt's slots, and change nothing") {
  const test::TemporaryFolder folder;
  const std::string path = random_ant_to(folder.file("model.leaf"), in_format(quant::FormatId::q8));
  const Ids prompt = {6, 20, 30, 40, 50, 20, 30, 40, 60, 20, 30};
  runtime::LoadOptions options = options_for(180);
  runtime::DraftModel draft(path, runtime::plan_draft_model(options, path, path));
  const auto model = runtime::Model::load(path, options_for(180));
  CHECK(check_all(*model, prompt, {&draft}) > 300);
}

TEST_CASE("a draft model that is the model itself is always right, one that knows nothing about never") {
  const test::TemporaryFolder folder;
  const std::string path = synthesize_to(folder.file("model.leaf"), in_format(quant::FormatId::q4));
  const std::string other = spelled_model(folder.file("other.leaf"));
  runtime::LoadOptions options = options_for();
  runtime::DraftModel same(path, runtime::plan_draft_model(options, path, path));
  runtime::DraftModel bad(other, runtime::plan_draft_model(options, path, other));
  const auto model = runtime::Model::load(path, options_for());
  runtime::GenerateOptions with = greedy(61);
  with.ignore_end = true;
  with.speculation = {Lookup::off, &same, 5};
  const runtime::SpeculationReport good_report = answer_of(*model, kPrompt, with).result.speculation;
  CHECK(good_report.model.acceptance() == 1);
  CHECK(good_report.model.accepted == good_report.model.drafted);
  CHECK(good_report.steps == 11);  // one plain step, then ten of 6 tokens but for the last of 5
  with.speculation.draft_model = &bad;
  const runtime::SpeculationReport bad_report = answer_of(*model, kPrompt, with).result.speculation;
  CHECK(bad_report.model.acceptance() < 0.1);
}

TEST_CASE("drafts pay where a text repeats, cost next to nothing where it does not, and come back when it does again") {
  const test::TemporaryFolder folder;
  const std::string path = synthesize_to(folder.file("model.leaf"), in_format(quant::FormatId::q4));
  runtime::LoadOptions options = options_for();
  const auto model = runtime::Model::load(path, options);
  std::mt19937 random(11);
  const auto noise = [&](std::size_t count) {
    Ids ids(count);
    for (std::uint32_t& id : ids) id = random() % 40;  // so few that pairs come back all the time
    return ids;
  };
  const auto append = [](Ids& text, const Ids& more) { text.insert(text.end(), more.begin(), more.end()); };
  Ids repeating = noise(60);
  for (int i = 0; i < 10; i++) append(repeating, Ids(repeating.begin(), repeating.begin() + 60));
  Ids mixed = noise(600);
  for (int i = 0; i < 10; i++) append(mixed, Ids(mixed.begin(), mixed.begin() + 60));
  for (const double row : {0.02, 0.3}) {  // streamed; in memory
    CAPTURE(row);
    const auto speed = [&](const Ids& text, std::size_t prompt) {
      runtime::Speculator speculator(*model, {Lookup::automatic});
      return tokens_per_step_time(speculator, text, prompt, row);
    };
    CHECK(speed(noise(1000), 20) > 0.97);
    CHECK(speed(repeating, 60) > (row < 0.1 ? 6 : 2.2));
    CHECK(speed(mixed, 20) > (row < 0.1 ? 1.6 : 1.3));
  }
}

TEST_CASE("a draft model that is no help is left alone, and tried again now and then") {
  const test::TemporaryFolder folder;
  const std::string path = synthesize_to(folder.file("model.leaf"), in_format(quant::FormatId::q4));
  const std::string other = spelled_model(folder.file("other.leaf"));
  runtime::LoadOptions options = options_for(2000);
  runtime::DraftModel bad(other, runtime::plan_draft_model(options, path, other));
  const auto model = runtime::Model::load(path, options_for(2000));
  std::mt19937 random(12);
  Ids text(1500);
  for (std::uint32_t& id : text) id = random() % 300;
  runtime::Speculator speculator(*model, {Lookup::off, &bad});
  CHECK(tokens_per_step_time(speculator, text, 10, 0.2) > 0.97);
  const runtime::SpeculationReport report = speculator.report();
  CHECK(report.model.steps > 5);
  CHECK(report.model.steps < 40);
}

TEST_CASE("an end token and a stop text within drafts end the answer where they would without") {
  const test::TemporaryFolder folder;
  const std::string plain = spelled_model(folder.file("plain.leaf"));
  const auto model = runtime::Model::load(plain, options_for());
  const Ids free = answer_of(*model, kPrompt, greedy(40)).result.ids;
  runtime::LoadOptions options = options_for();
  runtime::DraftModel draft(plain, runtime::plan_draft_model(options, plain, plain));
  for (std::size_t at = 3; at < 14; at++) {
    CAPTURE(at);
    // As one token's spelling, and across two.
    for (const std::string& stop : {std::to_string(free[at]) + ".", "." + std::to_string(free[at]) + "."}) {
      runtime::GenerateOptions with = greedy(40);
      with.stop = {stop};
      const Answer want = answer_of(*model, kPrompt, with);
      CHECK(want.result.finish_reason == "stop");
      for (const std::uint64_t k : {3, 7}) {
        with.speculation = {Lookup::off, &draft, k};
        check_same(want, answer_of(*model, kPrompt, with));
      }
      with.speculation = {Lookup::always};
      check_same(want, answer_of(*model, kPrompt, with));
    }
    const std::string ending = spelled_model(folder.file("ending.leaf"), free[at]);
    const auto with_end = runtime::Model::load(ending, options_for());
    runtime::GenerateOptions with = greedy(40);
    const Answer want = answer_of(*with_end, kPrompt, with);
    CHECK(want.result.finish_reason == "stop");
    CHECK(want.result.ids.back() == free[at]);
    for (const std::uint64_t k : {1, 7}) {
      with.speculation = {Lookup::off, &draft, k};
      check_same(want, answer_of(*with_end, kPrompt, with));
    }
  }
}

TEST_CASE("drafts stop at the end of the context, and the model refuses there as without them") {
  const test::TemporaryFolder folder;
  const std::string path = spelled_model(folder.file("model.leaf"));
  const std::uint64_t positions = kPrompt.size() + 20;
  runtime::LoadOptions options = options_for(positions);
  runtime::DraftModel draft(path, runtime::plan_draft_model(options, path, path));
  const auto model = runtime::Model::load(path, options_for(positions));
  const auto tokens_until_refused = [&](const runtime::SpeculationOptions& speculation) {
    runtime::GenerateOptions with = greedy(100);
    with.speculation = speculation;
    Ids ids;
    model->truncate(0, 0);
    CHECK_THROWS_WITH_AS(runtime::generate(*model, kPrompt, with, [&](const runtime::GeneratedToken& token) { ids.push_back(token.id); }),
                         doctest::Contains("context"), Error);
    CHECK(model->cached_positions(0) == positions);
    return ids;
  };
  const Ids want = tokens_until_refused({});
  CHECK(want.size() == 21);
  CHECK(tokens_until_refused({Lookup::off, &draft, 7}) == want);
  CHECK(tokens_until_refused({Lookup::always}) == want);
}

TEST_CASE("turns of a conversation go on from the cache alike, penalties included, whatever was drafted and refused before") {
  const test::TemporaryFolder folder;
  const std::string path = spelled_model(folder.file("model.leaf"));
  runtime::LoadOptions options = options_for(200);
  runtime::DraftModel draft(path, runtime::plan_draft_model(options, path, path));
  const auto talk = [&](const runtime::SpeculationOptions& speculation, bool from_cache) {
    const auto model = runtime::Model::load(path, options_for(200));
    runtime::PrefixCache prefix(*model);
    Ids text = kPrompt, all;
    for (std::uint32_t turn = 0; turn < 4; turn++) {
      runtime::GenerateOptions with = sampled(0.6f, turn);
      with.max_tokens = 15;
      with.sampling.repetition_penalty = 1.2f;
      with.speculation = speculation;
      if (!from_cache) prefix.forget();
      with.cached = text.size() - prefix.rest_of(text).size();
      CHECK((with.cached > 0) == (from_cache && turn > 0));
      const Ids ids = runtime::generate(*model, text, with).ids;
      prefix.append(ids);
      all.insert(all.end(), ids.begin(), ids.end());
      text.insert(text.end(), ids.begin(), ids.end());
      if (turn == 2) text.resize(text.size() - 6);  // somebody takes back what was said
      text.push_back(40 + turn);
    }
    return all;
  };
  const Ids want = talk({}, false);
  CHECK(talk({}, true) == want);
  CHECK(talk({Lookup::always}, true) == want);
  CHECK(talk({Lookup::off, &draft, 4}, true) == want);
  CHECK(talk({Lookup::automatic, &draft, 0}, true) == want);
}

TEST_CASE("a stop in the middle, or a listener that throws, leaves only what is right in the cache") {
  const test::TemporaryFolder folder;
  const std::string path = spelled_model(folder.file("model.leaf"));
  runtime::LoadOptions options = options_for();
  runtime::DraftModel draft(path, runtime::plan_draft_model(options, path, path));
  const auto model = runtime::Model::load(path, options_for());
  runtime::GenerateOptions with = greedy(40);
  with.speculation = {Lookup::off, &draft, 7};
  for (const std::uint64_t at : {2, 5, 9, 12}) {
    CAPTURE(at);
    model->truncate(0, 0);
    CHECK_THROWS_AS(runtime::generate(*model, kPrompt, with,
                                      [&](const runtime::GeneratedToken& token) {
                                        if (token.index == at) throw Error(ErrorKind::io, "listener", "is gone");
                                      }),
                    Error);
    CHECK(model->cached_positions(0) == kPrompt.size() + at);
    model->truncate(0, 0);
    std::stop_source stop;
    std::uint64_t seen = 0;
    CHECK_THROWS_AS(runtime::generate(
                        *model, kPrompt, with,
                        [&](const runtime::GeneratedToken& token) {
                          seen = token.index + 1;
                          if (token.index == at) stop.request_stop();
                        },
                        stop.get_token()),
                    Error);
    CHECK(model->cached_positions(0) <= kPrompt.size() + seen);
    check_same(answer_of(*model, kPrompt, greedy(40)), answer_of(*model, kPrompt, with));
  }
}

TEST_CASE("a draft model of another vocabulary is refused by both names") {
  const test::TemporaryFolder folder;
  const std::string path = spelled_model(folder.file("model.leaf"));
  const std::string spelled = spelled_model(folder.file("spelled.leaf"), {}, "x");
  const std::string fewer = spelled_model(folder.file("fewer.leaf"), {}, {}, 290);
  const std::string ids_only = random_ant_to(folder.file("ant.leaf"), in_format(quant::FormatId::q8));
  runtime::LoadOptions options = options_for();
  for (const std::string& draft : {spelled, fewer, ids_only}) {
    CHECK_THROWS_WITH_AS(runtime::plan_draft_model(options, path, draft), doctest::Contains(draft.c_str()), Error);
    CHECK_THROWS_WITH_AS(runtime::plan_draft_model(options, path, draft), doctest::Contains(path.c_str()), Error);
  }
  CHECK(options.beside.empty());
}

TEST_CASE("the plan counts a draft model, and gives drafts' rows up before anything else") {
  const test::TemporaryFolder folder;
  const std::string path = synthesize_to(folder.file("model.leaf"), in_format(quant::FormatId::q4, 65536));
  const compress::LeafIndex index = compress::read_leaf_index(*open_file(path));
  const auto plan = [&](const runtime::LoadOptions& options) {
    offload::HostMemory host;
    host.available = std::uint64_t{1} << 32;
    return runtime::plan_model(index, options, host, 0, nullptr);
  };
  const auto least = [&](runtime::LoadOptions options) {
    for (options.memory = SizeText{.bytes = 0};; options.memory->bytes += 4096) {
      try {
        plan(options);
        return options.memory->bytes;
      } catch (const Error&) { REQUIRE(options.memory->bytes < std::uint64_t{1} << 30); }
    }
  };
  runtime::LoadOptions plain, lookup, expressly, with_model;
  for (runtime::LoadOptions* options : {&plain, &lookup, &expressly, &with_model}) {
    options->ctx_size = 64;
    options->threads = 1;
  }
  runtime::plan_for_speculation(lookup, Lookup::automatic, false);
  runtime::plan_for_speculation(expressly, Lookup::always, false);
  runtime::plan_draft_model(with_model, path, path);
  REQUIRE(with_model.beside.size() == 1);
  CHECK(least(lookup) == least(plain));
  CHECK(least(expressly) > least(plain));
  const std::uint64_t more = least(with_model) - least(plain), draft = with_model.beside[0].bytes;
  CHECK(more >= draft);
  CHECK(more <= draft + draft / 100 + 8192);  // page tables, and the steps of this search
  lookup.memory = SizeText{.bytes = least(plain)};
  CHECK(plan(lookup).logit_rows == 1);
  lookup.memory->bytes = std::uint64_t{1} << 30;
  CHECK(plan(lookup).logit_rows == runtime::kMostDrafts + 1);
}

TEST_CASE("rows for drafts lengthen what a step reads by a thirtieth at most, at any budget") {
  const test::TemporaryFolder folder;
  const compress::LeafIndex index =
      compress::read_leaf_index(*open_file(synthesize_to(folder.file("model.leaf"), in_format(quant::FormatId::q4, 65536))));
  std::uint64_t most = 0, whole = 0, planned = 0;
  for (std::uint64_t bytes = 0; planned < 400; bytes += 32 << 10) {
    REQUIRE(bytes < std::uint64_t{1} << 30);
    CAPTURE(bytes);
    offload::HostMemory host;
    host.available = std::uint64_t{1} << 32;
    runtime::LoadOptions options;
    options.ctx_size = 64;
    options.threads = 1;
    options.memory = SizeText{.bytes = bytes};
    const auto plan = [&]() -> std::optional<runtime::PlannedModel> {
      try {
        return runtime::plan_model(index, options, host, 0, nullptr);
      } catch (const Error&) { return {}; }
    };
    const auto without = plan();
    runtime::plan_for_speculation(options, Lookup::automatic, false);
    const auto with = plan();
    REQUIRE(with.has_value() == without.has_value());
    if (!with) continue;
    planned++;
    REQUIRE(with->ctx_size == without->ctx_size);
    CHECK(with->plan.total <= bytes);
    const std::uint64_t streamed = without->plan.streamed_bytes;
    CHECK(with->plan.streamed_bytes <= streamed + streamed / 30 + (streamed > 0 ? 65536 : 0));  // chunks are residents or not, as a whole
    if (streamed > 0) most = std::max(most, with->logit_rows);
    if (streamed == 0) whole = std::max(whole, with->logit_rows);
  }
  CHECK(most > 1);
  CHECK(whole == runtime::kMostDrafts + 1);
}
