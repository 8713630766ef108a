// A model whose disk fails while it is loaded and used: the right tokens or an error that says where, soon, and the same model works again when the disk does.
#include <doctest/doctest.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <optional>

#include "base/checked.h"
#include "base/error.h"
#include "runtime/generate.h"
#include "tests/runtime/ant_models.h"
#include "tests/runtime/half_streamed.h"
#include "tests/support/faulty_disk.h"
#include "tests/support/sanitized.h"
#include "tests/support/temporary_folder.h"

using namespace leafcutter;
using namespace leafcutter::testing;
using test::DiskFault;
using test::FaultyDisk;

namespace {

using Clock = std::chrono::steady_clock;
constexpr double kMostSeconds = 2;

struct Answer {
  std::vector<std::uint32_t> ids;
  std::vector<double> logprobs;
  bool operator==(const Answer&) const = default;
};

// A prompt and three tokens from an empty cache.
Answer answer_of(runtime::Model& model, const std::function<void(std::uint64_t token)>& on_token = {}) {
  const std::vector<std::uint32_t> prompt = {6, 17, 150, 99, 23};
  runtime::GenerateOptions options;
  options.max_tokens = 3;
  options.sampling.temperature = 0;
  options.ignore_end = true;
  options.logprobs = 1;
  model.truncate(0, 0);
  Answer answer;
  runtime::generate(model, prompt, options, [&](const runtime::GeneratedToken& token) {
    answer.ids.push_back(token.id);
    answer.logprobs.push_back(token.logprob);
    if (on_token) on_token(token.index);
  });
  return answer;
}

using Through = decltype(runtime::LoadOptions::through);

std::unique_ptr<runtime::Model> load(const std::string& path, offload::ReadBackend backend, const Through& through = {}) {
  runtime::LoadOptions options;
  options.threads = 2;
  options.ctx_size = 64;
  options.pager.backend = backend;
  options.through = through;
  return load_half(path, options);
}

// One line that names the file and the place: what is read at this offset.
void check_names(const Error& e, const std::string& path, const compress::LeafIndex& index, std::uint64_t offset) {
  const std::string message = e.what();
  CAPTURE(message);
  CHECK((e.kind() == ErrorKind::io || e.kind() == ErrorKind::bad_file || e.kind() == ErrorKind::unsupported));
  CHECK(message.find('\n') == std::string::npos);
  CHECK(message.find(path) != std::string::npos);
  for (std::size_t c = 0; c < index.chunks.size(); c++) {
    const compress::ChunkEntry& chunk = index.chunks[c];
    if (offset < chunk.file_offset || offset >= chunk.file_offset + round_up(chunk.stored_bytes, compress::kPage)) continue;
    const bool named = message.find("chunk " + std::to_string(c) + ",") != std::string::npos;
    CHECK((named || (chunk.module == 0 && message.find("embedding, row") != std::string::npos)));
    return;
  }
  const auto has = [&](const char* part) { return message.find(part) != std::string::npos; };
  CHECK((has("offset") || has("header") || has("index")));
}

struct Tally {
  std::size_t right = 0, refused = 0;
};

// The fault at each `stride`th call of loading, a prompt and three tokens.
Tally fail_at_each_call(const std::string& path, const Answer& want, const compress::LeafIndex& index, DiskFault fault, bool for_good,
                        std::size_t stride) {
  Tally tally;
  FaultyDisk disk;
  const auto through = [&](const std::shared_ptr<File>& file) { return disk.around(file); };
  disk.set(DiskFault::none, 0);
  CHECK(answer_of(*load(path, offload::ReadBackend::threads, through)) == want);
  const std::size_t calls = disk.calls();
  for (std::size_t at = 0; at < calls; at += stride) {
    CAPTURE(at);
    disk.set(fault, at, for_good);
    std::unique_ptr<runtime::Model> model;
    const auto start = Clock::now();
    // A read ahead may fail for a chunk of the generation after; what fails for good may also fail what is read ahead between the error and the mending.
    const int most_failures = for_good ? 2 : 1;
    int failures = 0;
    for (int generation = 0; generation <= most_failures; generation++) {
      CAPTURE(generation);
      try {
        if (!model) model = load(path, offload::ReadBackend::threads, through);
        const Answer got = answer_of(*model);
        CHECK(got == want);
      } catch (const Error& e) {
        failures++;
        check_names(e, path, index, for_good ? FaultyDisk::kNone : disk.offset());
        disk.heal();
      }
    }
    CHECK(failures <= most_failures);
    (failures > 0 ? tally.refused : tally.right)++;
    CHECK(std::chrono::duration<double>(Clock::now() - start).count() < kMostSeconds);
  }
  return tally;
}

void fail_everywhere(std::size_t stride) {
  const test::TemporaryFolder folder;
  for (const bool ant : {false, true}) {
    CAPTURE(ant);
    const auto codec = ant ? compress::Codec::zstd : compress::Codec::none;
    const auto options = in_format(quant::FormatId::q4, ant ? 8192 : 131072, codec);
    const std::string path = ant ? random_ant_to(folder.file("ant.leaf"), options) : synthesize_to(folder.file("llama.leaf"), options);
    const compress::LeafIndex index = compress::read_leaf_index(*open_file(path));
    runtime::LoadOptions roomy;
    roomy.threads = 1;
    const Answer want = answer_of(*runtime::Model::load(path, roomy));
    for (const DiskFault fault : {DiskFault::one_byte, DiskFault::half, DiskFault::error, DiskFault::ends, DiskFault::flipped})
      for (const bool for_good : {false, true}) {
        if (for_good && (fault == DiskFault::one_byte || fault == DiskFault::flipped)) continue;
        CAPTURE(static_cast<int>(fault));
        CAPTURE(for_good);
        const Tally tally = fail_at_each_call(path, want, index, fault, for_good, stride);
        const bool harmless = fault == DiskFault::one_byte || fault == DiskFault::half;
        CHECK(harmless == (tally.refused == 0));
        CHECK(tally.right + tally.refused > 10 / stride);
      }
  }
}

}  // namespace

TEST_CASE("a disk that fails at some call of loading, prompt and tokens gives the right tokens or an error that says where") {
  fail_everywhere(test::kSanitized ? 19 : 7);
}

TEST_CASE("slow: a disk that fails at any call of loading, prompt and tokens gives the right tokens or an error that says where") {
  fail_everywhere(1);
}

TEST_CASE("a file that is cut, damaged or replaced while tokens are made gives the right tokens or an error that says where") {
  const test::TemporaryFolder folder;
  for (const auto backend : {offload::ReadBackend::automatic, offload::ReadBackend::threads}) {
    const std::string path = synthesize_to(folder.file("model.leaf"), in_format(quant::FormatId::q4, 65536));
    const auto content = test::read_whole_file(path);
    auto damaged = content;
    const auto model = load(path, backend);
    const compress::LeafIndex& index = model->index();
    for (const compress::ChunkEntry& chunk : index.chunks) damaged[chunk.file_offset + chunk.stored_bytes / 2] ^= std::byte{1};
    const Answer want = answer_of(*model);
    const auto rewrite = [&](const std::vector<std::byte>& bytes) {  // in place: the same file
      std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
      file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    };
    std::size_t refused = 0;
    for (std::uint64_t at = 0; at < 3; at++)
      for (const int way : {0, 1, 2, 3}) {
        CAPTURE(at);
        CAPTURE(way);
        const auto start = Clock::now();
        bool broken = false;
        try {
          for (int generation = 0; generation < 2; generation++) {
            const Answer got = answer_of(*model, [&](std::uint64_t token) {
              if (token != at || broken) return;
              broken = true;
              if (way == 0) rewrite(damaged);
              if (way > 0) std::filesystem::resize_file(path, way == 1 ? 0 : way == 2 ? 4096 : content.size() / 2 + 100);
            });
            CHECK(got == want);
          }
        } catch (const Error& e) {
          refused++;
          const std::string message = e.what();
          CAPTURE(message);
          CHECK(message.find('\n') == std::string::npos);
          CHECK(message.find(path) != std::string::npos);
          CHECK((message.find("chunk ") != std::string::npos || message.find("embedding, row") != std::string::npos));
        }
        rewrite(content);
        bool failed_again = false;  // what was read ahead of the broken file
        try {
          answer_of(*model);
        } catch (const Error&) { failed_again = true; }
        CHECK(answer_of(*model) == want);
        CHECK((!failed_again || refused > 0));
        CHECK(std::chrono::duration<double>(Clock::now() - start).count() < kMostSeconds);
      }
    CHECK(refused == 12);  // the second generation at the latest needs what is gone
  }
}

TEST_CASE(
    "a file that is replaced while it is open changes nothing, and one that is replaced while it is loaded is one of the two or refused") {
  const test::TemporaryFolder folder;
  const auto options = in_format(quant::FormatId::q4, 65536);
  const auto backend = offload::ReadBackend::automatic;
  const std::string path = synthesize_to(folder.file("model.leaf"), options);
  const auto content = test::read_whole_file(path);
  // Another model, and the same shape in another format.
  const std::string other_path = random_ant_to(folder.file("ant.leaf"), in_format(quant::FormatId::q8));
  const std::string sibling_path = synthesize_to(folder.file("sibling.leaf"), in_format(quant::FormatId::q8, 65536));
  const auto replace_by = [&](const std::vector<std::byte>& bytes) {
    test::write_whole_file(folder.file("new"), bytes);
    std::filesystem::rename(folder.file("new"), path);
  };
  const Answer want = answer_of(*load(path, backend));
  for (const std::string& by : {other_path, sibling_path}) {
    const auto bytes = test::read_whole_file(by);
    const Answer of_other = answer_of(*runtime::Model::load(by, {}));
    {
      const auto model = load(path, backend);
      CHECK(answer_of(*model, [&](std::uint64_t) { replace_by(bytes); }) == want);
      CHECK(answer_of(*model) == want);
      replace_by(content);
    }
    for (int at = 0; at < 3; at++) {
      CAPTURE(at);
      int opened = 0;
      try {
        const auto model = load(path, backend, [&](std::shared_ptr<File> file) {
          if (opened++ == at) replace_by(bytes);
          return file;
        });
        const Answer got = answer_of(*model);
        CHECK((got == want || got == of_other));
      } catch (const Error& e) {
        CAPTURE(std::string(e.what()));
        CHECK(std::string(e.what()).find(path) != std::string::npos);
      }
      replace_by(content);
    }
  }
}
