// What goes wrong under the pager: failed, short and wrong reads, at each call, once and for good.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <string>

#include "base/error.h"
#include "offload/pager.h"
#include "offload/stream_file.h"
#include "tests/compress/leaf_samples.h"
#include "tests/offload/streamed_model.h"
#include "tests/support/expect_error.h"
#include "tests/support/fault_file.h"
#include "tests/support/memory_file.h"
#include "tests/support/temporary_folder.h"

using namespace leafcutter;
using namespace leafcutter::offload;
using leafcutter::test::FaultFile;
using leafcutter::test::MemoryFile;
using leafcutter::test::ReadFaults;
using offload::test::make_model;
using offload::test::plan_for;
using offload::test::StreamedModel;

namespace {

constexpr PagerOptions kOneByOne = {.backend = ReadBackend::threads, .reads = {.bytes = 65536, .in_flight = 1}, .read_threads = 1};

struct Failure {
  std::uint32_t chunk;
  std::string message;
};

// One step; the chunk at which it failed, if any. Blobs that arrive must be right.
std::optional<Failure> walk(Pager& pager, const StreamedModel& model) {
  for (const std::uint32_t c : model.order) {
    try {
      const auto blob = pager.acquire(c);
      CHECK(std::memcmp(blob.data(), model.blobs[c].data(), model.blobs[c].size()) == 0);
    } catch (const Error& e) { return Failure{c, e.what()}; }
    pager.release(c);
  }
  return std::nullopt;
}

bool names_chunk(const std::string& message, std::uint32_t chunk) {
  return message.find("chunk " + std::to_string(chunk) + ",") != std::string::npos && message.find('\n') == std::string::npos;
}

}  // namespace

TEST_CASE("a read that fails once surfaces at the acquire of that very chunk, and after a reset all is well") {
  const StreamedModel model = make_model({.chunks = 8});
  const Plan plan = plan_for(model, 0);
  for (std::size_t call = 0; call < 3 * model.order.size(); call++) {
    CAPTURE(call);
    MemoryFile inner(model.file);
    const auto file = std::make_shared<FaultFile>(inner, ReadFaults{.error_at = call});
    MemoryAccount account;
    Pager pager(file, model.index, plan, model.order, account, kOneByOne);
    pager.load_residents();
    std::optional<Failure> failure;
    std::size_t steps = 0;
    while (!(failure = walk(pager, model))) steps++;
    CHECK(steps == call / model.order.size());
    CHECK(failure->chunk == call % model.order.size());
    CHECK(names_chunk(failure->message, failure->chunk));
    CHECK(failure->message.find("Input/output error") != std::string::npos);
    CHECK_THROWS_AS(pager.acquire(failure->chunk), Error);  // it stays so until reset
    pager.reset();
    for (int i = 0; i < 3; i++) CHECK_FALSE(walk(pager, model).has_value());
  }
}

TEST_CASE("a chunk is read in pieces, and one piece that fails is the chunk's failure") {
  const StreamedModel model = make_model({.chunks = 8, .most_bytes = 5 * 4096});
  const Plan plan = plan_for(model, 0);
  std::vector<std::uint32_t> chunk_of_read;
  for (const std::uint32_t c : model.order)
    for (std::uint32_t at = 0; at < model.index.chunks[c].stored_bytes; at += 4096) chunk_of_read.push_back(c);
  REQUIRE(chunk_of_read.size() > model.order.size());
  for (std::size_t call = 0; call < 2 * chunk_of_read.size(); call++)
    for (const std::size_t in_flight : {1, 2, 3}) {
      CAPTURE(call);
      CAPTURE(in_flight);
      MemoryFile inner(model.file);
      const auto file = std::make_shared<FaultFile>(inner, ReadFaults{.error_at = call});
      MemoryAccount account;
      // One thread: reads come in the order in which they were asked for, however many are asked for at once.
      Pager pager(file, model.index, plan, model.order, account,
                  {.backend = ReadBackend::threads, .reads = {.bytes = 4096, .in_flight = in_flight}, .read_threads = 1});
      pager.load_residents();
      std::optional<Failure> failure;
      while (!(failure = walk(pager, model))) {}
      CHECK(failure->chunk == chunk_of_read[call % chunk_of_read.size()]);
      CHECK(names_chunk(failure->message, failure->chunk));
      pager.reset();
      for (int i = 0; i < 2; i++) CHECK_FALSE(walk(pager, model).has_value());
    }
}

TEST_CASE("with several reads in flight the error is that of the chunk asked for") {
  const StreamedModel model = make_model({.chunks = 16});
  for (std::size_t call = 0; call < 40; call++) {
    CAPTURE(call);
    const Plan plan = plan_for(model, 0, 1, 40960);
    MemoryFile inner(model.file);
    const auto file = std::make_shared<FaultFile>(inner, ReadFaults{.error_at = call, .and_after = call % 2 == 0});
    MemoryAccount account;
    Pager pager(file, model.index, plan, model.order, account, {.backend = ReadBackend::threads});
    pager.load_residents();
    std::optional<Failure> failure;
    while (!(failure = walk(pager, model))) {}
    CHECK(names_chunk(failure->message, failure->chunk));
    pager.reset();
    failure = walk(pager, model);
    CHECK(failure.has_value() == (call % 2 == 0));
    if (failure) CHECK(names_chunk(failure->message, failure->chunk));
  }
}

TEST_CASE("short reads of any length give the same bytes") {
  const StreamedModel model = make_model({.chunks = 8, .most_bytes = 4096, .coded = 0.4});
  for (const ReadFaults& faults : {ReadFaults{.longest = 1}, ReadFaults{.random_lengths = true}, ReadFaults{.longest = 4095}}) {
    MemoryFile inner(model.file);
    const auto file = std::make_shared<FaultFile>(inner, faults);
    MemoryAccount account;
    const Plan plan = plan_for(model, 0.3);
    Pager pager(file, model.index, plan, model.order, account, {.backend = ReadBackend::threads});
    pager.load_residents();
    for (int i = 0; i < 2; i++) CHECK_FALSE(walk(pager, model).has_value());
  }
}

TEST_CASE("damaged bytes are found before anyone sees them, named, and found again after a reset") {
  const StreamedModel model = make_model({.chunks = 8, .coded = 0.4, .seed = 3});
  for (std::uint32_t bad = 0; bad < model.order.size(); bad++) {
    CAPTURE(bad);
    const auto file = std::make_shared<MemoryFile>(model.file);
    std::byte& victim = file->bytes[model.index.chunks[bad].file_offset + bad % model.index.chunks[bad].stored_bytes];
    victim ^= std::byte{4};
    MemoryAccount account;
    const Plan plan = plan_for(model, 0);
    Pager pager(file, model.index, plan, model.order, account, {.backend = ReadBackend::threads});
    pager.load_residents();
    for (int i = 0; i < 2; i++) {
      const auto failure = walk(pager, model);
      REQUIRE(failure.has_value());
      CHECK(failure->chunk == bad);
      CHECK(names_chunk(failure->message, bad));
      CHECK(failure->message.find("damaged") != std::string::npos);
      pager.reset();
    }
    const Plan resident = plan_for(model, 1);
    Pager loader(file, model.index, resident, model.order, account, {.backend = ReadBackend::threads});
    leafcutter::test::expect_error([&] { loader.load_residents(); }, {"chunk " + std::to_string(bad) + ",", "damaged"});
  }
}

TEST_CASE("a file cut while it is open gives an error that names the chunk and how much came, through both back ends") {
  const leafcutter::test::TemporaryFolder folder;
  const StreamedModel model = make_model({.chunks = 10});
  const Plan plan = plan_for(model, 0);
  for (const ReadBackend backend : {ReadBackend::threads, ReadBackend::automatic}) {
    for (const std::uint32_t cut : {0u, 4u, 9u}) {
      for (const std::uint64_t rest : {0u, 100u}) {
        CAPTURE(cut);
        CAPTURE(rest);
        const std::string path = folder.file("model");
        leafcutter::test::write_whole_file(path, model.file);
        const auto file = open_for_streaming(path);
        std::filesystem::resize_file(path, model.index.chunks[cut].file_offset + rest);
        MemoryAccount account;
        Pager pager(file, model.index, plan, model.order, account, {.backend = backend});
        pager.load_residents();
        const auto failure = walk(pager, model);
        REQUIRE(failure.has_value());
        CHECK(failure->chunk == cut);
        CHECK(names_chunk(failure->message, cut));
        CHECK(failure->message.find("the file ends after " + std::to_string(rest) + " of") != std::string::npos);
        leafcutter::test::write_whole_file(path, model.file);
        pager.reset();
        CHECK_FALSE(walk(pager, model).has_value());
      }
    }
  }
}

TEST_CASE("loading residents fails cleanly at each read and can be tried again") {
  const StreamedModel model = make_model({.chunks = 8, .coded = 0.4});
  const Plan plan = plan_for(model, 0.7);
  const std::size_t residents = static_cast<std::size_t>(std::count(plan.resident.begin(), plan.resident.end(), true));
  for (std::size_t call = 0; call < residents; call++) {
    CAPTURE(call);
    MemoryFile inner(model.file);
    const auto file = std::make_shared<FaultFile>(inner, ReadFaults{.error_at = call});
    MemoryAccount account;
    Pager pager(file, model.index, plan, model.order, account, {.backend = ReadBackend::threads});
    leafcutter::test::expect_error([&] { pager.load_residents(); }, {"chunk ", "offset ", "Input/output error"});
    pager.load_residents();
    CHECK_FALSE(walk(pager, model).has_value());
  }
}

TEST_CASE("loading says how far it is and stops on request") {
  const StreamedModel model = make_model({.chunks = 20});
  const Plan plan = plan_for(model, 1);
  const auto file = std::make_shared<MemoryFile>(model.file);
  MemoryAccount account;
  std::uint64_t last = 0, all = 0;
  {
    Pager pager(file, model.index, plan, model.order, account, {.backend = ReadBackend::threads});
    pager.load_residents([&](std::uint64_t done, std::uint64_t total) {
      CHECK(done > last);
      last = done;
      all = total;
    });
    CHECK(last == all);
    CHECK(all == model.file.size() - compress::kPage);
  }
  Pager pager(file, model.index, plan, model.order, account, {.backend = ReadBackend::threads});
  std::stop_source stop;
  std::size_t calls = 0;
  const auto stop_at_third = [&](std::uint64_t, std::uint64_t) {
    if (++calls == 3) stop.request_stop();
  };
  CHECK_THROWS_AS(pager.load_residents(stop_at_third, stop.get_token()), Error);
  CHECK(calls < 20);
}

TEST_CASE("an error says which tensors of which layer could not be read") {
  const std::vector<std::byte> bytes = compress::test::sample_bytes();
  const auto whole = std::make_shared<MemoryFile>(bytes, "small.leaf");
  const compress::LeafIndex index = compress::read_leaf_index(*whole);
  const std::vector<std::uint32_t> order = chunks_of_step(index);
  Plan plan;
  plan.resident.assign(index.chunks.size(), false);
  plan.ring_bytes = least_ring_bytes(index, order);
  whole->bytes[index.chunks[order[1]].file_offset + 5] ^= std::byte{1};
  MemoryAccount account;
  Pager pager(whole, index, plan, order, account, {.backend = ReadBackend::threads});
  pager.load_residents();
  pager.acquire(order[0]);
  leafcutter::test::expect_error([&] { pager.acquire(order[1]); }, {"small.leaf", compress::chunk_place(index, order[1]), "damaged"});
}

TEST_CASE("io_uring cannot be forced on a file without a descriptor") {
  const StreamedModel model = make_model({});
  const auto file = std::make_shared<MemoryFile>(model.file);
  MemoryAccount account;
  const Plan plan = plan_for(model, 0);
  leafcutter::test::expect_error([&] { Pager(file, model.index, plan, model.order, account, {.backend = ReadBackend::io_uring}); },
                                 {"memory.leaf", "no descriptor"});
}
