#include "offload/card_table.h"

#include <doctest/doctest.h>

#include <set>

#include "tests/support/expect_error.h"

using namespace leafcutter;
using namespace leafcutter::offload;

TEST_CASE("cards and hosts are found by their names, and a name that is not known gets the list") {
  std::set<std::string> names;
  for (const Card& card : cards()) {
    CHECK(find_card(card.name).name == card.name);
    CHECK(names.insert(card.name).second);
    CHECK(card.context_bytes < card.free_bytes());
    CHECK(card.free_bytes() < card.memory_bytes);
    CHECK(card.usable_dram() > card.link_bytes_per_s);
    CHECK(card.capability >= 61);
    CHECK(card.multiprocessors > 0);
    CHECK(card.dot_lanes == (card.capability < 70 ? 128 : 64));
    CHECK(card.copy_engines >= 1);
  }
  for (const char* name : {"gtx1060-3gb", "gtx1060-6gb", "gtx1650-4gb", "gtx1080ti", "rtx2060-6gb", "rtx3060-12gb", "rtx4090"})
    CHECK(names.count(name) == 1);
  for (const CardHost& host : card_hosts()) {
    CHECK(find_card_host(host.name).name == host.name);
    CHECK(host.others_bytes + host.process_bytes < host.memory_bytes);
    CHECK(host.disk_bytes_per_s < host.dram_bytes_per_s);
  }
  for (const char* bad : {"", "gtx1060", "GTX1060-6GB", "gtx1060-6gb "}) {
    CAPTURE(bad);
    test::expect_error([&] { find_card(bad); }, {"--card", "rtx4090"});
    test::expect_error([&] { find_card_host(bad); }, {"--host", "desktop-ddr4"});
  }
}
