// The account names all that the process is charged with: what it began with and the entries add up to what the kernel counts, at any time, and all of it goes back.
#include <doctest/doctest.h>
#include <malloc.h>

#include <algorithm>

#include "runtime/prompt_rows.h"
#include "tests/runtime/test_models.h"
#include "tests/support/sanitized.h"
#include "tests/support/temporary_folder.h"

#ifndef LEAFCUTTER_SANITIZED

using namespace leafcutter;
using namespace leafcutter::testing;

namespace {

constexpr std::uint64_t kMiB = 1 << 20;

// 250 MB in four layers: of f32, which is the quickest to make.
std::string large_model_to(const std::string& target) {
  const compress::ModelDescription model =
      test::describe({.layers = 4, .dim = 1024, .heads = 16, .kv_heads = 16, .ff_width = 3800, .vocab_size = 1000});
  const auto options = in_format(quant::FormatId::f32);
  const auto file = create_file(target);
  ThreadTeam team(2);
  compress::synthesize_model(model, options.formats, 1, options.writer, *file, team, {});
  return target;
}

}  // namespace

TEST_CASE("what the process began with and the account's entries are what it is charged with, and all of it goes back") {
  const test::TemporaryFolder folder;
  const std::string path = large_model_to(folder.file("large.leaf"));
  for (const bool streamed : {false, true}) {
    CAPTURE(streamed);
    malloc_trim(0);
    const std::uint64_t before = offload::charged_bytes();
    runtime::LoadOptions options;
    options.threads = 2;
    options.ctx_size = 96;
    if (streamed) options.memory = SizeText{.bytes = before + 150 * kMiB};
    auto model = runtime::Model::load(path, options);
    REQUIRE(model->plan().streamed.empty() != streamed);
    REQUIRE(model->account().total(offload::Tier::host) > 100 * kMiB);
    const auto check = [&](const char* when) {
      CAPTURE(when);
      const std::uint64_t named = before + model->account().total(offload::Tier::host), charged = offload::charged_bytes();
      CAPTURE(named);
      CAPTURE(charged);
      CHECK(std::max(named, charged) - std::min(named, charged) <= std::max(charged / 50, 8 * kMiB));
      CHECK(charged <= model->plan().total);
    };
    check("after loading");
    {
      std::vector<float> logits(model->logit_rows() * model->index().model.vocab_size);
      std::vector<runtime::StepRow> rows;
      for (std::uint32_t i = 0; i < 90; i++) rows.push_back({i * 31 % 1000, i, 0, i + 1 == 90});
      model->step(rows, logits);
      check("after a prompt");
      for (std::uint32_t i = 90; i < 96; i++) {
        const runtime::StepRow row{i, i, 0, true};
        model->step({&row, 1}, logits);
        check("while tokens are made");
      }
    }
    model.reset();
    malloc_trim(0);
    CHECK(offload::charged_bytes() <= before + 2 * kMiB);
  }
}

#endif
