// Where the weights lie, how many threads there are and how a prompt is cut never changes a bit of the logits.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>

#include "base/error.h"
#include "runtime/generate.h"
#include "tests/runtime/half_streamed.h"
#include "tests/runtime/test_models.h"
#include "tests/support/sanitized.h"
#include "tests/support/temporary_folder.h"

using namespace leafcutter;
using namespace leafcutter::testing;

namespace {

const std::vector<std::uint32_t> kPrompt = {3, 17, 250, 99, 4, 4, 120, 7, 33, 201, 8, 11, 12, 13, 14, 15, 16, 40, 41, 42};

runtime::LoadOptions options_with(std::size_t threads) {
  runtime::LoadOptions options;
  options.threads = threads;
  options.needed_positions = 64;
  options.logit_rows = 32;
  return options;
}

// Logits of every prompt position, the prompt given in pieces of `piece` rows.
std::vector<float> logits_of(runtime::Model& model, std::size_t piece, std::uint32_t sequence = 0) {
  const std::size_t vocabulary = model.index().model.vocab_size;
  std::vector<float> logits(kPrompt.size() * vocabulary);
  model.truncate(sequence, 0);
  for (std::size_t begin = 0; begin < kPrompt.size(); begin += piece) {
    std::vector<runtime::StepRow> rows;
    for (std::size_t i = begin; i < std::min(kPrompt.size(), begin + piece); i++) rows.push_back({kPrompt[i], i, sequence, true});
    model.step(rows, std::span(logits).subspan(begin * vocabulary));
  }
  return logits;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace

TEST_CASE("the table of the embedding is in memory where there is room for it, and makes no difference") {
  const test::TemporaryFolder folder;
  const std::string path = synthesize_to(folder.file("model.leaf"), in_format(quant::FormatId::q4, 65536));
  const auto roomy = runtime::Model::load(path, options_with(2));
  const compress::LeafIndex& index = roomy->index();
  REQUIRE(!index.model.tied_head);
  const compress::ModuleEntry& table = index.modules.front();
  REQUIRE(table.kind == compress::ModuleKind::embedding);
  const auto in_memory = [&](const runtime::Model& model) {
    std::uint32_t count = 0;
    for (std::uint32_t c = table.first_chunk; c < table.first_chunk + table.chunk_count; c++) count += model.plan().resident[c];
    return count;
  };
  CHECK(in_memory(*roomy) == table.chunk_count);
  CHECK(roomy->plan().streamed.empty());

  runtime::LoadOptions tight = options_with(2);
  const auto streaming = load_half(path, tight);
  CHECK(in_memory(*streaming) == 0);
  CHECK(same_bits(logits_of(*roomy, 5), logits_of(*streaming, 5)));
}

TEST_CASE("threads, prompt cuts, codec, chunks, budgets and back ends give the same bits") {
  const test::TemporaryFolder folder;
  for (const quant::FormatId format : {quant::FormatId::q4, quant::FormatId::q8, quant::FormatId::f32}) {
    if (test::kSanitized && format != quant::FormatId::q4) continue;
    CAPTURE(std::string(quant::format_of(format).name));
    const std::string whole = synthesize_to(folder.file("whole.leaf"), in_format(format));
    const std::string pieces = synthesize_to(folder.file("pieces.leaf"), in_format(format, 65536));
    const std::string coded = synthesize_to(folder.file("coded.leaf"), in_format(format, 65536, compress::Codec::zstd));
    const std::vector<float> want = logits_of(*runtime::Model::load(whole, options_with(1)), kPrompt.size());
    for (const std::size_t threads : {1, 2, 3}) {
      if (test::kSanitized && threads != 2) continue;
      const auto model = runtime::Model::load(whole, options_with(threads));
      for (const std::size_t piece : {1, 3, 7, 20}) CHECK(same_bits(want, logits_of(*model, piece)));
    }
    for (const std::string& path : {pieces, coded})
      for (const auto backend : {offload::ReadBackend::automatic, offload::ReadBackend::threads}) {
        runtime::LoadOptions options = options_with(2);
        options.pager.backend = backend;
        const auto model = load_half(path, options);
        CHECK(same_bits(want, logits_of(*model, 7)));
        CHECK(same_bits(want, logits_of(*model, 20)));
        CHECK(model->pager_stats().streamed_chunks > 0);
      }
    runtime::LoadOptions few = options_with(2);
    few.rows_per_step = 32;
    few.logit_rows = 3;
    CHECK(same_bits(want, logits_of(*runtime::Model::load(whole, few), 20)));
  }
}

TEST_CASE("a sequence's logits do not depend on the one beside it") {
  const test::TemporaryFolder folder;
  const std::string path = compress_to(reference_folder() + "/f32-gqa", folder.file("model.leaf"), in_format(quant::FormatId::q4));
  runtime::LoadOptions options = options_with(2);
  options.sequences = 2;
  const auto model = runtime::Model::load(path, options);
  const std::vector<float> want = logits_of(*model, 1);
  const std::size_t vocabulary = model->index().model.vocab_size;
  model->truncate(0, 0);
  std::vector<float> got, logits(vocabulary);
  for (std::size_t i = 0; i < kPrompt.size(); i++) {
    const runtime::StepRow rows[] = {{static_cast<std::uint32_t>(200 - i), i, 1, false}, {kPrompt[i], i, 0, true}};
    model->step(rows, logits);
    got.insert(got.end(), logits.begin(), logits.end());
  }
  CHECK(same_bits(want, got));
}

TEST_CASE("a step that is stopped leaves the cache as it was, and the model goes on") {
  const test::TemporaryFolder folder;
  const std::string path = synthesize_to(folder.file("model.leaf"), in_format(quant::FormatId::q8, 65536));
  runtime::LoadOptions options = options_with(2);
  const auto model = load_half(path, options);
  const std::vector<float> want = logits_of(*model, 20);
  std::stop_source stop;
  stop.request_stop();
  model->truncate(0, 5);
  const runtime::StepRow row{1, 5, 0, true};
  std::vector<float> logits(model->index().model.vocab_size);
  CHECK_THROWS_AS(model->step({&row, 1}, logits, stop.get_token()), Error);
  CHECK(model->cached_positions(0) == 5);
  CHECK(same_bits(want, logits_of(*model, 20)));
}

TEST_CASE("what cannot be is refused by name: ids, positions, contexts, budgets") {
  const test::TemporaryFolder folder;
  const std::string path = compress_to(reference_folder() + "/f32-gqa", folder.file("model.leaf"), in_format(quant::FormatId::q4));
  const auto model = runtime::Model::load(path, options_with(1));
  std::vector<float> logits(model->index().model.vocab_size);
  const auto refused = [&](runtime::StepRow row, const char* part) {
    CHECK_THROWS_WITH_AS(model->step({&row, 1}, logits), doctest::Contains(part), Error);
  };
  refused({300, 0, 0, true}, "300");
  refused({1, 5, 0, true}, "position 5");
  refused({1, 0, 7, true}, "sequence 7");
  runtime::LoadOptions small = options_with(1);
  small.ctx_size = 8;
  CHECK_THROWS_WITH_AS(runtime::Model::load(path, small), doctest::Contains("ctx-size"), Error);
  runtime::LoadOptions tight = options_with(1);
  tight.memory = SizeText{.bytes = 1 << 20};
  CHECK_THROWS_WITH_AS(runtime::Model::load(path, tight), doctest::Contains("--memory"), Error);
}

TEST_CASE("KV types differ little") {
  const test::TemporaryFolder folder;
  const std::string path = compress_to(reference_folder() + "/f32-gqa", folder.file("model.leaf"), in_format(quant::FormatId::f32));
  std::vector<float> want;
  for (const auto type : {kernels::KvType::f32, kernels::KvType::f16, kernels::KvType::q8}) {
    runtime::LoadOptions options = options_with(1);
    options.kv_type = type;
    const auto got = logits_of(*runtime::Model::load(path, options), 20);
    if (want.empty()) want = got;
    float error = 0, largest = 0;
    for (std::size_t i = 0; i < want.size(); i++)
      error = std::max(error, std::abs(got[i] - want[i])), largest = std::max(largest, std::abs(want[i]));
    CHECK(error <= largest * (type == kernels::KvType::q8 ? 0.05f : 0.005f));
  }
}

TEST_CASE("perplexity counts the second halves of whole windows") {
  const test::TemporaryFolder folder;
  const auto model = runtime::Model::load(
      compress_to(reference_folder() + "/f32-gqa", folder.file("model.leaf"), in_format(quant::FormatId::f32)), options_with(2));
  std::vector<std::uint32_t> ids;
  for (std::uint32_t i = 0; i < 50; i++) ids.push_back(i * 37 % 290 + 3);
  const auto result = runtime::perplexity(*model, ids, 16);
  CHECK(result.tokens == 3 * 7);
  // By hand: the windows alone, position by position.
  double sum = 0;
  std::vector<float> logits(300);
  for (std::size_t w = 0; w < 3; w++) {
    model->truncate(0, 0);
    for (std::size_t i = 0; i < 15; i++) {
      const runtime::StepRow row{ids[w * 16 + i], i, 0, true};
      model->step({&row, 1}, logits);
      if (i < 8) continue;
      double all = 0;
      for (const float v : logits) all += std::exp(double{v});
      sum += std::log(all) - logits[ids[w * 16 + i + 1]];
    }
  }
  CHECK(result.mean_nll == doctest::Approx(sum / 21));
  CHECK_THROWS_AS(runtime::perplexity(*model, std::span(ids).first(10), 16), Error);
}
