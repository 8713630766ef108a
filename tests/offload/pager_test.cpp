#include "offload/pager.h"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <ctime>
#include <deque>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "base/error.h"
#include "offload/disk_probe.h"
#include "offload/stream_file.h"
#include "tests/offload/streamed_model.h"
#include "tests/support/memory_file.h"
#include "tests/support/temporary_folder.h"

using namespace leafcutter;
using namespace leafcutter::offload;
using offload::test::make_model;
using offload::test::plan_for;
using offload::test::StreamedModel;

namespace {

// Reads come late and in any order, and none may touch memory that somebody holds.
class WatchedFile final : public File {
 public:
  WatchedFile(std::vector<std::byte> bytes, std::uint32_t most_delay_us, std::uint64_t seed = 1)
      : inner_(std::move(bytes)), most_delay_us_(most_delay_us), random_(seed) {}

  const std::string& name() const override { return inner_.name(); }
  std::uint64_t size() const override { return inner_.size(); }
  std::size_t read_at(std::uint64_t offset, std::span<std::byte> to) override {
    std::uint32_t delay = 0;
    {
      const std::lock_guard lock(mutex_);
      reads_.push_back(offset);
      delay = most_delay_us_ > 0 ? static_cast<std::uint32_t>(random_() % most_delay_us_) : 0;
      check(to);
    }
    if (delay > 0) std::this_thread::sleep_for(std::chrono::microseconds(delay));
    const std::size_t got = inner_.read_at(offset, to);
    const std::lock_guard lock(mutex_);
    check(to);
    return got;
  }

  void hold(std::span<const std::byte> blob) {
    const std::lock_guard lock(mutex_);
    held_.push_back(blob);
  }
  void let_go(std::span<const std::byte> blob) {
    const std::lock_guard lock(mutex_);
    std::erase_if(held_, [&](const auto& h) { return h.data() == blob.data(); });
  }
  bool intruded() const {
    const std::lock_guard lock(mutex_);
    return intruded_;
  }
  std::size_t reads_of(std::uint64_t offset) const {
    const std::lock_guard lock(mutex_);
    return static_cast<std::size_t>(std::count(reads_.begin(), reads_.end(), offset));
  }

 private:
  void check(std::span<const std::byte> to) {
    for (const auto& h : held_)
      if (to.data() < h.data() + h.size() && h.data() < to.data() + to.size()) intruded_ = true;
  }

  leafcutter::test::MemoryFile inner_;
  std::uint32_t most_delay_us_;
  mutable std::mutex mutex_;
  std::mt19937_64 random_;
  std::vector<std::uint64_t> reads_;
  std::vector<std::span<const std::byte>> held_;
  bool intruded_ = false;
};

// Walks through steps as a runtime would, several chunks held at once and given back in any order, cancelled at any moment. Whatever is given back is overwritten first, so that a chunk
// that is handed out without having been read again is found out.
class Walker {
 public:
  Walker(const StreamedModel& model, const Plan& plan, Pager& pager, std::size_t most_held, std::uint64_t seed, WatchedFile* file = nullptr)
      : model_(model), plan_(plan), pager_(pager), most_held_(most_held), random_(seed), file_(file) {}

  void step() {
    for (const std::uint32_t c : model_.order) {
      make_room(c);
      take(c);
      while (!held_.empty() && random_() % 3 == 0) give_back(random_() % held_.size());
    }
    while (!held_.empty()) give_back(random_() % held_.size());
  }

  void cancelled_step() {
    const std::size_t end = random_() % (model_.order.size() + 1);
    for (std::size_t i = 0; i < end; i++) {
      make_room(model_.order[i]);
      take(model_.order[i]);
    }
    for (const Held& h : held_)
      if (file_) file_->let_go(h.blob);
    held_.clear();
    turn_ = 0;
    pager_.reset();
  }

  std::size_t wrong() const { return wrong_; }

 private:
  struct Held {
    std::uint32_t chunk;
    std::span<const std::byte> blob;
    std::size_t turn;  // among the streamed
  };

  // Space comes back in the order of acquiring, so that what counts is how long ago the oldest was taken.
  void make_room(std::uint32_t next) {
    while (!held_.empty() && held_.front().turn + most_held_ <= turn_ + !plan_.resident[next]) give_back(0);
  }

  bool right(const Held& h) const {
    const auto& expected = model_.blobs[h.chunk];
    return h.blob.size() == expected.size() && std::memcmp(h.blob.data(), expected.data(), expected.size()) == 0;
  }

  void take(std::uint32_t c) {
    turn_ += !plan_.resident[c];
    const Held held{c, pager_.acquire(c), turn_};
    if (file_ && !plan_.resident[c]) file_->hold(held.blob);
    wrong_ += !right(held);
    held_.push_back(held);
  }

  void give_back(std::size_t i) {
    const Held held = held_[i];
    wrong_ += !right(held);
    held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(i));
    if (!plan_.resident[held.chunk]) {
      std::memset(const_cast<std::byte*>(held.blob.data()), 0xee, held.blob.size());
      if (file_) file_->let_go(held.blob);
    }
    pager_.release(held.chunk);
  }

  const StreamedModel& model_;
  const Plan& plan_;
  Pager& pager_;
  const std::size_t most_held_;
  std::mt19937_64 random_;
  WatchedFile* file_;
  std::vector<Held> held_;
  std::size_t wrong_ = 0, turn_ = 0;
};

constexpr PagerOptions kThreads = {.backend = ReadBackend::threads};

std::size_t usable_holds(const Plan& plan, std::size_t wanted) { return std::max<std::size_t>(1, std::min(wanted, plan.streamed.size())); }

}  // namespace

TEST_CASE("every blob arrives whole through any ring, held and given back in any order, cancelled at any moment") {
  for (std::uint64_t seed = 1; seed <= 60; seed++) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    const StreamedModel model = make_model({.chunks = 1 + random() % 24,
                                            .most_bytes = static_cast<std::uint32_t>(4096 << random() % 4),
                                            .coded = seed % 3 == 0 ? 0.5 : 0,
                                            .seed = seed});
    const std::size_t holds = 1 + random() % 3;
    const std::uint64_t more = random() % 3 * (random() % 100000 / 4096 * 4096);
    const Plan plan = plan_for(model, static_cast<double>(random() % 4) / 4, seed, more);
    const auto file = std::make_shared<WatchedFile>(model.file, random() % 2 == 0 ? 300 : 0, seed);
    MemoryAccount account;
    Pager pager(file, model.index, plan, model.order, account,
                {.backend = ReadBackend::threads,
                 .reads = {.bytes = std::size_t{4096} << random() % 5, .in_flight = 1 + random() % 8},
                 .read_threads = 1 + random() % 4});
    pager.load_residents();
    Walker walker(model, plan, pager, usable_holds(plan, holds), seed, file.get());
    for (int i = 0; i < 6; i++) random() % 3 == 0 ? walker.cancelled_step() : walker.step();
    CHECK(walker.wrong() == 0);
    CHECK_FALSE(file->intruded());
  }
}

TEST_CASE("io_uring gives the same bytes from a real file, direct or buffered") {
  if (!io_uring_works()) {
    MESSAGE("skipped: io_uring is refused here");
    return;
  }
  const leafcutter::test::TemporaryFolder folder;
  for (std::uint64_t seed = 1; seed <= 12; seed++) {
    CAPTURE(seed);
    const StreamedModel model = make_model({.chunks = 20, .most_bytes = 40 * 4096, .coded = seed % 2 ? 0.3 : 0, .seed = seed});
    const std::string path = folder.file("model");
    leafcutter::test::write_whole_file(path, model.file);
    const Plan plan = plan_for(model, 0.3, seed, seed % 3 * 65536);
    MemoryAccount account;
    const auto file = seed % 4 == 0 ? open_file(path) : open_for_streaming(path);
    Pager pager(file, model.index, plan, model.order, account,
                {.backend = ReadBackend::io_uring, .reads = {.bytes = std::size_t{4096} << seed % 6, .in_flight = 1 + seed % 8}});
    pager.load_residents();
    CHECK(std::string(pager.stats().backend).starts_with("io_uring"));
    CHECK(pager.stats().direct == file->direct());
    Walker walker(model, plan, pager, usable_holds(plan, 2), seed);
    for (int i = 0; i < 6; i++) i % 3 == 2 ? walker.cancelled_step() : walker.step();
    CHECK(walker.wrong() == 0);
  }
}

TEST_CASE("when a step ends the first chunks of the next one are already being read") {
  const StreamedModel model = make_model({.chunks = 12});
  const Plan plan = plan_for(model, 0);
  const auto file = std::make_shared<WatchedFile>(model.file, 0);
  MemoryAccount account;
  Pager pager(file, model.index, plan, model.order, account, kThreads);
  pager.load_residents();
  for (const std::uint32_t c : model.order) {
    pager.acquire(c);
    pager.release(c);
  }
  const std::uint64_t first = model.index.chunks[0].file_offset;
  for (int i = 0; i < 2000 && file->reads_of(first) < 2; i++) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  CHECK(file->reads_of(first) == 2);
}

TEST_CASE("a reset at the end of a step keeps what was read for the next one") {
  const StreamedModel model = make_model({.chunks = 12});
  const Plan plan = plan_for(model, 0);
  const auto file = std::make_shared<WatchedFile>(model.file, 0);
  MemoryAccount account;
  Pager pager(file, model.index, plan, model.order, account, kThreads);
  pager.load_residents();
  for (const std::uint32_t c : model.order) {
    pager.acquire(c);
    pager.release(c);
  }
  const std::uint64_t first = model.index.chunks[0].file_offset;
  for (int i = 0; i < 2000 && file->reads_of(first) < 2; i++) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  pager.reset();
  const auto blob = pager.acquire(0);
  CHECK(std::memcmp(blob.data(), model.blobs[0].data(), blob.size()) == 0);
  CHECK(file->reads_of(first) == 2);
}

TEST_CASE("a pager can be destroyed at any moment") {
  const leafcutter::test::TemporaryFolder folder;
  for (std::uint64_t seed = 1; seed <= 40; seed++) {
    const StreamedModel model = make_model({.chunks = 10, .coded = 0.3, .seed = seed});
    const Plan plan = plan_for(model, 0.2, seed);
    const std::string path = folder.file("model");
    leafcutter::test::write_whole_file(path, model.file);
    const bool real = seed % 2 == 0;
    const std::shared_ptr<File> file = real ? open_for_streaming(path) : std::make_shared<WatchedFile>(model.file, 500, seed);
    MemoryAccount account;
    {
      Pager pager(file, model.index, plan, model.order, account, {.backend = real ? ReadBackend::automatic : ReadBackend::threads});
      if (seed % 5 != 0) pager.load_residents();
      for (std::size_t i = 0; seed % 5 != 0 && i < seed % 10; i++) {
        pager.acquire(model.order[i]);
        if (i + 1 < seed % 10) pager.release(model.order[i]);
      }
    }
    CHECK(account.total(Tier::host) == 0);
  }
}

TEST_CASE("the account holds arena and ring, and staging while it is needed") {
  const StreamedModel model = make_model({.chunks = 12, .coded = 0.5});
  const auto file = std::make_shared<WatchedFile>(model.file, 0);
  MemoryAccount account;
  const Plan plan = plan_for(model, 0.5);
  {
    Pager pager(file, model.index, plan, model.order, account, kThreads);
    CHECK(account.entries().size() == 3);
    CHECK(account.total(Tier::host) >= plan.ring_bytes + staging_bytes(model.index));
  }
  const Plan all = plan_for(model, 1);
  Pager pager(file, model.index, all, model.order, account, kThreads);
  pager.load_residents();
  REQUIRE(account.entries().size() == 1);
  CHECK(account.entries()[0].name == "resident weights");
  for (const std::uint32_t c : model.order) {
    const auto blob = pager.acquire(c);
    CHECK(std::memcmp(blob.data(), model.blobs[c].data(), blob.size()) == 0);
  }
}

TEST_CASE("whoever asks for chunks out of order, or holds more than the ring has room for, is told instead of left waiting") {
  const StreamedModel model = make_model({.chunks = 12, .most_bytes = 4096});
  const Plan plan = plan_for(model, 0);
  const auto file = std::make_shared<WatchedFile>(model.file, 0);
  MemoryAccount account;
  Pager pager(file, model.index, plan, model.order, account, kThreads);
  CHECK_THROWS_AS(pager.acquire(0), std::logic_error);  // nothing was loaded
  pager.load_residents();
  CHECK_THROWS_AS(pager.load_residents(), std::logic_error);
  CHECK_THROWS_AS(pager.acquire(1), std::logic_error);
  for (std::uint32_t c = 0; c < 4; c++) pager.acquire(c);
  CHECK_THROWS_AS(pager.acquire(4), std::logic_error);
  pager.reset();
  CHECK(pager.acquire(0).size() == model.blobs[0].size());
}

TEST_CASE("statistics count what was read, delivered and waited for") {
  const StreamedModel model = make_model({.chunks = 12});
  const Plan plan = plan_for(model, 0.4);
  const auto file = std::make_shared<WatchedFile>(model.file, 2000);
  MemoryAccount account;
  Pager pager(file, model.index, plan, model.order, account,
              {.backend = ReadBackend::threads, .reads = {.bytes = 65536, .in_flight = 1}, .read_threads = 1});
  pager.load_residents();
  for (int step = 0; step < 3; step++)
    for (const std::uint32_t c : model.order) {
      pager.acquire(c);
      pager.release(c);
    }
  std::uint64_t resident = 0, streamed = 0;
  for (const std::uint32_t c : model.order)
    (plan.resident[c] ? resident : streamed) += round_up(model.index.chunks[c].stored_bytes, compress::kPage);
  const PagerStats stats = pager.stats();
  CHECK(stats.streamed_chunks == 3 * plan.streamed.size());
  CHECK(stats.read_bytes >= resident + 3 * streamed);
  CHECK(stats.read_bytes <= resident + 3 * streamed + plan.ring_bytes);
  CHECK(stats.wait_seconds > 0);
  CHECK(stats.disk_busy_seconds >= stats.wait_seconds / 2);
  CHECK(stats.check_seconds > 0);
  CHECK(stats.load_seconds > 0);
  CHECK(std::string(stats.backend) == "threads");
}

TEST_CASE("a thread that waits for the disk uses no processor") {
  const StreamedModel model = make_model({.chunks = 6, .most_bytes = 4096});
  const Plan plan = plan_for(model, 0);
  const auto file = std::make_shared<WatchedFile>(model.file, 100000);
  MemoryAccount account;
  Pager pager(file, model.index, plan, model.order, account,
              {.backend = ReadBackend::threads, .reads = {.bytes = 65536, .in_flight = 1}, .read_threads = 1});
  pager.load_residents();
  const std::clock_t begin = std::clock();
  const auto start = std::chrono::steady_clock::now();
  for (const std::uint32_t c : model.order) {
    pager.acquire(c);
    pager.release(c);
  }
  const double wall = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const double cpu = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  CAPTURE(wall);
  CHECK(cpu < 0.02 + wall / 4);
}
