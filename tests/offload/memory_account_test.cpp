#include "offload/memory_account.h"

#include <doctest/doctest.h>

#include <thread>
#include <vector>

using namespace leafcutter::offload;

TEST_CASE("entries count as long as they live, by tier") {
  MemoryAccount account;
  CHECK(account.entries().empty());
  {
    const auto ring = account.add("ring", Tier::host, 100);
    const auto cache = account.add("KV cache", Tier::host, 23);
    const auto weights = account.add("weights", Tier::device, 7);
    CHECK(account.total(Tier::host) == 123);
    CHECK(account.total(Tier::device) == 7);
    CHECK(account.total(Tier::disk) == 0);
    const std::vector<AccountEntry> entries = account.entries();
    REQUIRE(entries.size() == 3);  // in order of adding
    CHECK(entries[0].name == "ring");
    CHECK(entries[1].name == "KV cache");
    CHECK(entries[1].bytes == 23);
    CHECK(entries[2].tier == Tier::device);
  }
  CHECK(account.entries().empty());
  CHECK(account.total(Tier::host) == 0);
}

TEST_CASE("a moved entry counts once, and one that is replaced goes") {
  MemoryAccount account;
  MemoryAccount::Entry a = account.add("same name", Tier::host, 1);
  MemoryAccount::Entry b = account.add("same name", Tier::host, 10);
  CHECK(account.total(Tier::host) == 11);
  {
    const MemoryAccount::Entry moved = std::move(a);
    CHECK(account.total(Tier::host) == 11);
  }
  CHECK(account.total(Tier::host) == 10);
  b = account.add("larger", Tier::host, 20);
  CHECK(account.total(Tier::host) == 20);
  b = {};
  CHECK(account.total(Tier::host) == 0);
}

TEST_CASE("threads may add and remove at once") {
  MemoryAccount account;
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < 4; t++)
    threads.emplace_back([&account, t] {
      for (int i = 0; i < 500; i++) {
        const auto one = account.add("one", Tier::host, t + 1), two = account.add("two", Tier::disk, 2);
        if (account.total(Tier::host) < t + 1) std::terminate();
      }
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(account.entries().empty());
}

TEST_CASE("tiers have names") {
  CHECK(tier_name(Tier::disk) == std::string("disk"));
  CHECK(tier_name(Tier::host) == std::string("host"));
  CHECK(tier_name(Tier::device) == std::string("device"));
}
