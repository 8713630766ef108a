// Once the first token is made nothing is allocated: not for a step, not for streaming, by no thread.
#include <doctest/doctest.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <thread>

#include "runtime/generate.h"
#include "runtime/prompt_rows.h"
#include "tests/runtime/ant_models.h"
#include "tests/runtime/half_streamed.h"
#include "tests/support/sanitized.h"
#include "tests/support/temporary_folder.h"

// A sanitizer's own allocator must stay.
#ifndef LEAFCUTTER_SANITIZED

namespace {

std::atomic<bool> counting{false};
std::atomic<std::uint64_t> allocations{0}, allocated_bytes{0};

void count(std::size_t bytes) {
  if (!counting.load(std::memory_order_relaxed)) return;
  allocations++;
  allocated_bytes += bytes;
}

}  // namespace

// The C library's functions, counted: operator new and the libraries in C come through here as well.
extern "C" {
void* __libc_malloc(std::size_t bytes);
void* __libc_calloc(std::size_t count, std::size_t bytes);
void* __libc_realloc(void* old, std::size_t bytes);
void* __libc_memalign(std::size_t alignment, std::size_t bytes);

void* malloc(std::size_t bytes) noexcept {
  count(bytes);
  return __libc_malloc(bytes);
}
void* calloc(std::size_t number, std::size_t bytes) noexcept {
  count(number * bytes);
  return __libc_calloc(number, bytes);
}
void* realloc(void* old, std::size_t bytes) noexcept {
  count(bytes);
  return __libc_realloc(old, bytes);
}
void* memalign(std::size_t alignment, std::size_t bytes) noexcept {
  count(bytes);
  return __libc_memalign(alignment, bytes);
}
void* aligned_alloc(std::size_t alignment, std::size_t bytes) noexcept { return memalign(alignment, bytes); }
int posix_memalign(void** out, std::size_t alignment, std::size_t bytes) noexcept {
  void* got = memalign(alignment, bytes);
  if (!got) return ENOMEM;
  *out = got;
  return 0;
}
}

using namespace leafcutter;
using namespace leafcutter::testing;

namespace {

struct Counted {
  std::uint64_t allocations, bytes;
};

template <class Work>
Counted counted(Work&& work) {
  allocations = allocated_bytes = 0;
  counting = true;
  work();
  counting = false;
  return {allocations, allocated_bytes};
}

runtime::LoadOptions options_for(offload::ReadBackend backend) {
  runtime::LoadOptions options;
  options.threads = 2;
  options.ctx_size = 160;
  options.logit_rows = 8;
  options.pager.backend = backend;
  return options;
}

// Steps of `rows` rows at the end of what is cached.
void step(runtime::Model& model, std::size_t rows, std::vector<runtime::StepRow>& list, std::vector<float>& logits) {
  list.clear();
  const std::uint64_t position = model.cached_positions(0);
  for (std::uint32_t i = 0; i < rows; i++) list.push_back(runtime::text_row(model, 10 + (position + i) * 37 % 190, position + i, 0, true));
  model.step(list, logits);
}

struct Case {
  std::string name, path;
  bool streamed;
  offload::ReadBackend backend;
};

std::vector<Case> cases(const test::TemporaryFolder& folder) {
  using enum offload::ReadBackend;
  std::vector<Case> all;
  for (const bool ant : {false, true})
    for (const auto codec : {compress::Codec::none, compress::Codec::zstd}) {
      const std::string name = std::string(ant ? "ant" : "llama") + (codec == compress::Codec::none ? "" : ", zstd");
      const auto options = in_format(quant::FormatId::q4, ant ? 8192 : 65536, codec);
      const std::string path = folder.file(name + ".leaf");
      ant ? random_ant_to(path, options) : synthesize_to(path, options);
      if (codec == compress::Codec::none) all.push_back({name + ", resident", path, false, threads});
      all.push_back({name + ", threads", path, true, threads});
      all.push_back({name + ", automatic", path, true, automatic});  // io_uring where it may be had
    }
  return all;
}

std::unique_ptr<runtime::Model> load(const Case& c) {
  const auto options = options_for(c.backend);
  auto model = c.streamed ? load_half(c.path, options) : runtime::Model::load(c.path, options);
  REQUIRE(model->plan().streamed.empty() != c.streamed);
  return model;
}

}  // namespace

TEST_CASE("the counter of allocations counts") {
  CHECK(counted([] { delete new int; }).allocations <= 1);  // the compiler may leave the pair out
  CHECK(counted([] { std::vector<int>(100).swap(*std::make_unique<std::vector<int>>(50)); }).allocations >= 3);
  CHECK(counted([] { std::jthread([] { std::free(std::malloc(12345)); }); }).bytes >= 12345);
}

TEST_CASE("a step allocates nothing once one of its kind has been made") {
  const test::TemporaryFolder folder;
  for (const Case& c : cases(folder)) {
    CAPTURE(c.name);
    const auto model = load(c);
    std::vector<float> logits(8 * model->index().model.vocab_size);
    std::vector<runtime::StepRow> list = runtime::prompt_rows(*model, std::vector<std::uint32_t>{6, 17, 25, 99}, runtime::kTextTask);
    list.reserve(16);
    model->step(list, logits);
    for (const std::size_t rows : {1, 5}) {
      CAPTURE(rows);
      for (int i = 0; i < 2; i++) step(*model, rows, list, logits);
      const Counted of_steps = counted([&] {
        for (int i = 0; i < 8; i++) step(*model, rows, list, logits);
      });
      CAPTURE(of_steps.bytes);
      CHECK(of_steps.allocations == 0);
    }
  }
}

TEST_CASE("a generated token allocates nothing after the first one") {
  const test::TemporaryFolder folder;
  for (const Case& c : cases(folder)) {
    CAPTURE(c.name);
    const auto model = load(c);
    for (const float temperature : {0.0f, 0.9f}) {
      CAPTURE(temperature);
      model->truncate(0, 0);
      runtime::GenerateOptions options;
      options.max_tokens = 40;
      options.ignore_end = true;
      options.sampling.temperature = temperature;
      options.sampling.repetition_penalty = 1.1f;
      Counted between{};
      const std::vector<std::uint32_t> prompt = {6, 17, 25, 99};
      runtime::generate(*model, prompt, options, [&](const runtime::GeneratedToken& token) {
        if (token.index == 2) {
          allocations = allocated_bytes = 0;
          counting = true;
        } else if (token.index + 1 == options.max_tokens) {
          counting = false;
          between = {allocations, allocated_bytes};
        }
      });
      CAPTURE(between.bytes);
      CHECK(between.allocations == 0);
    }
  }
}

#endif
