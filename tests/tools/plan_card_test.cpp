#include "tools/plan_card.h"

#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <string>

#include "compress/compress_model.h"
#include "compress/leaf_writer.h"
#include "compress/shapes.h"
#include "tests/support/bminf.h"
#include "tests/support/expect_error.h"
#include "tests/support/sanitized.h"
#include "tools/card_sweep.h"

using namespace leafcutter;
using namespace leafcutter::tools;
using offload::CardCandidate;

namespace {

// A plan of a large model is a search that takes minutes with a sanitizer. The same code is searched through with small models, below and in runtime/device.
const doctest::skip kSearchesLong(test::kSanitized);

constexpr const char* kSizes[] = {"cpm-ant-10b", "cpm-ant-7b", "cpm-ant-3b", "cpm-ant-1b", "cpm-ant-300m"};

CardEstimate on_card(const PlannedIndex& model, const std::string& card) {
  CardFlags flags;
  flags.card = card;
  return estimate_on_card(model, flags, {}, {});
}

CardEstimate on_card(const std::string& model, const std::string& format, const std::string& card) {
  return on_card(index_to_plan(model, format), card);
}

void check_choice(const CardEstimate& estimate) {
  for (const CardCandidate& c : estimate.prediction.strategies) {
    CHECK(estimate.best().decode.seconds <= c.decode.seconds);
    CHECK(std::isfinite(c.decode.seconds));
    CHECK(std::isfinite(c.prompt_seconds));
    CHECK(c.decode.seconds >= c.decode.bound() * (1 - 1e-3));
    CHECK(c.plan.device_total <= c.plan.device_budget);
    CHECK(c.plan.host_total <= c.plan.host_budget);
  }
}

}  // namespace

TEST_CASE("a step of every CPM-Ant on a GTX 1060 takes what its longest lane takes from first principles, but for 3 percent" *
          kSearchesLong) {
  for (const std::string card : {"gtx1060-3gb", "gtx1060-6gb"})
    for (const std::string size : kSizes)
      for (const std::string format : {"q8", "q4"}) {
        CAPTURE(card);
        CAPTURE(size);
        CAPTURE(format);
        const CardEstimate estimate = on_card(size, format, card);
        CHECK(estimate.best().decode.seconds <= 1.03 * estimate.best().decode.bound());
        CHECK(estimate.prediction.strategies.size() == 3);
        check_choice(estimate);
      }
}

TEST_CASE("the host computing beside copies reaches what its memory lets it" * kSearchesLong) {
  for (const std::string card : {"gtx1060-3gb", "gtx1060-6gb"}) {
    CAPTURE(card);
    const CardEstimate estimate = on_card("cpm-ant-10b", "q8", card);
    const offload::CardStepTime& step = estimate.best().decode;
    CHECK(estimate.best().host_share > 0);
    CHECK(step.host_memory_bytes / step.seconds >= 0.95 * offload::find_card_host("desktop-ddr4").dram_bytes_per_s);
  }
}

TEST_CASE("the same weights are faster than by BMInf's schedule, on the same card and link" * kSearchesLong) {
  const PlannedIndex model = index_to_plan("cpm-ant-10b", "q8row");
  for (const std::string name : {"gtx1060-6gb", "rtx2060-6gb"}) {
    const CardEstimate ours = on_card(model, name);
    const offload::Card& card = offload::find_card(name);
    const offload::DevicePlan& plan = ours.best().plan;
    double layer = 0;
    for (const compress::ModuleEntry& module : model.index.modules)
      if (module.layer == 1) layer += static_cast<double>(module.bytes);
    // It gets what our plan has for weights and ring, and nothing of it is taken by the head.
    const std::size_t layers = model.index.model.layers.size();
    const auto slots = static_cast<std::size_t>(static_cast<double>(plan.device_ring_bytes + plan.device_resident_bytes) / layer);
    const std::size_t streamed = slots >= layers ? 0 : layers - (slots - 2);
    const double theirs = simulate_card(test::bminf_step(layers, streamed, layer, layer / card.usable_dram()), card,
                                        offload::find_card_host("desktop-ddr4"), 1, 4)
                              .seconds;
    double streaming = 0;
    for (const CardCandidate& c : ours.prediction.strategies)
      if (c.strategy == "streaming") streaming = c.decode.seconds;
    MESSAGE(name, ": BMInf's schedule ", 1 / theirs, " tokens/s with ", streamed, " layers streamed; ours ", 1 / streaming, " streaming, ",
            ours.tokens_per_s(), " chosen");
    REQUIRE(streamed > 0);
    CHECK(streaming < theirs);
    CHECK(ours.best().decode.seconds < theirs / 2);
  }
}

TEST_CASE("the chosen plan is never slower than another strategy, and the same question has the same answer, whatever the machine") {
  std::mt19937_64 random(3);
  int planned = 0;
  const int rounds = test::fewer_if_sanitized(40);
  for (int round = 0; round < rounds; round++) {
    compress::ModelDescription description = compress::find_shape(random() % 2 ? "cpm-ant-3b" : "llama-1.1b").value();
    description.layers.resize(2 + random() % 10);
    compress::FormatChoice format;
    format.body = quant::find_format(random() % 2 ? "q4" : "q8")->id;
    PlannedIndex model;
    const auto tensors = compress::plan_tensors(description, format);
    model.index = compress::lay_out_leaf(description, tensors, compress::suitable_chunk_bytes(description, tensors));
    CardFlags flags;
    flags.card = offload::cards()[random() % offload::cards().size()].name;
    flags.host = offload::card_hosts()[random() % offload::card_hosts().size()].name;
    flags.device_memory = SizeText{SizeText::Kind::bytes, (std::uint64_t{200} << 20) + random() % (std::uint64_t{1} << 30), 0};
    LoadFlags load;
    if (random() % 2) load.memory = SizeText{SizeText::Kind::bytes, (std::uint64_t{280} << 20) + random() % (std::uint64_t{1} << 30), 0};
    Wish wish;
    wish.prompt_tokens = 1 + random() % 400;
    wish.batch = 1 + random() % 3;
    CAPTURE(round);
    try {
      const CardEstimate once = estimate_on_card(model, flags, load, wish);
      check_choice(once);
      CHECK(card_json(once) == card_json(estimate_on_card(model, flags, load, wish)));
      planned++;
    } catch (const Error& e) { CHECK(e.kind() == ErrorKind::out_of_budget); }
  }
  CHECK(planned > rounds * 5 / 8);
}

TEST_CASE("no mix of card, link and host that is drawn at random is predicted faster than the chosen plan by half a percent" *
          kSearchesLong) {
  struct Machine {
    std::string model, format, card, host;
  };
  // All on the card; some missing; half missing; small products; a fast host.
  const Machine kMachines[] = {{"cpm-ant-10b", "q4", "gtx1060-6gb", "desktop-ddr4"}, {"cpm-ant-3b", "q8", "gtx1060-3gb", "desktop-ddr4"},
                               {"cpm-ant-7b", "q8", "gtx1060-3gb", "desktop-ddr4"},  {"cpm-ant-1b", "q4", "gtx1060-3gb", "desktop-ddr4"},
                               {"cpm-ant-300m", "q8", "rtx4090", "laptop-ddr4"},     {"cpm-ant-3b", "q4", "gtx1060-3gb", "desktop-ddr5"}};
  std::mt19937_64 random(11);
  const auto up_to = [&](double most) { return most * static_cast<double>(random() >> 11) * 0x1p-53; };
  for (const Machine& m : kMachines) {
    const PlannedIndex model = index_to_plan(m.model, m.format);
    CardFlags flags;
    flags.card = m.card;
    flags.host = m.host;
    const CardEstimate estimate = estimate_on_card(model, flags, {}, {});
    const offload::DeviceRates rates{offload::find_card(m.card), offload::find_card_host(m.host)};
    const auto seconds = [&](const offload::DevicePlan& plan, const offload::PerProduct& share) {
      const offload::Sides sides = with_host_share(model.index, plan, share);
      return play_step(card_step(model.index, plan, sides, estimate.request.wish.decode, rates.card, rates.host), rates).seconds;
    };
    double least = 1;
    for (int round = 0; round < 40; round++) {
      offload::PerProduct held_back{}, share{};
      const double most = up_to(0.6), common_share = up_to(1), common_part = up_to(most);
      for (std::size_t p = 0; p < offload::kProducts; p++) {
        held_back[p] = round % 3 == 0 ? common_part : random() % 2 ? 0 : up_to(most);
        share[p] = round % 3 == 0 ? common_share : random() % 4 ? up_to(1) : 1;
      }
      least =
          std::min(least, seconds(offload::place(model.index, estimate.request.request, offload::Residents::even, true, held_back), share));
      // What the host computes of what is not on the card in the chosen plan.
      least = std::min(least, seconds(estimate.best().plan, share));
    }
    const double chosen = estimate.best().decode.seconds;
    MESSAGE(m.model, " ", m.format, " on ", m.card, " in ", m.host, ": ", 1 / chosen, " tokens/s, the best that was drawn ", 1 / least);
    CHECK(chosen <= 1.005 * least);
  }
}

TEST_CASE("where all of a model would fit the card, the host's memory helps the card's" * kSearchesLong) {
  const CardEstimate estimate = on_card("cpm-ant-10b", "q4", "gtx1060-6gb");
  const offload::DevicePlan& plan = estimate.best().plan;
  CHECK(estimate.best().strategy == "mixed");
  CHECK(plan.host_resident_bytes > 0);
  CHECK(plan.device_total < plan.device_budget);
  for (const CardCandidate& c : estimate.prediction.strategies)
    if (c.strategy == "streaming") {
      CHECK(c.plan.host_resident_bytes == 0);
      CHECK(estimate.best().decode.seconds < 0.95 * c.decode.seconds);
      CHECK(estimate.best().prompt_seconds < 1.1 * c.prompt_seconds);
    }
}

TEST_CASE("a step ends whatever share the host has, of chunks that are half a table and of chunks from disk, too" * kSearchesLong) {
  const PlannedIndex model = index_to_plan("cpm-ant-3b", "q8");
  const offload::Card& card = offload::find_card("gtx1060-3gb");
  const offload::CardHost& host = offload::find_card_host("desktop-ddr4");
  for (const std::uint64_t memory : {std::uint64_t{16} << 30, std::uint64_t{400} << 20}) {
    CardFlags flags;
    flags.card = card.name;
    LoadFlags load;
    load.memory = SizeText{SizeText::Kind::bytes, memory, 0};
    const CardEstimate estimate = estimate_on_card(model, flags, load, {});
    const offload::DevicePlan plan = offload::place(model.index, estimate.request.request, offload::Residents::even, true);
    CHECK((plan.streamed_bytes > 0) == (memory < std::uint64_t{1} << 30));
    for (int i = 0; i <= 32; i++) {
      const offload::Sides sides = offload::with_host_share(model.index, plan, i / 32.0);
      CAPTURE(i);
      CHECK(simulate_card(card_step(model.index, plan, sides, estimate.request.wish.decode, card, host), card, host, 1, 1).seconds < 1);
    }
  }
}

TEST_CASE("absurd budgets are refused with what is needed, and odd names with the list") {
  const PlannedIndex model = index_to_plan("cpm-ant-300m", "q4");
  CardFlags flags;
  flags.card = "gtx1060-3gb";
  for (const std::uint64_t bytes : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{100} << 20}) {
    CardFlags small = flags;
    small.device_memory = SizeText{SizeText::Kind::bytes, bytes, 0};
    test::expect_error([&] { estimate_on_card(model, small, {}, {}); }, {"device memory", "need", "context", "--device-memory"});
    LoadFlags load;
    load.memory = SizeText{SizeText::Kind::bytes, bytes, 0};
    test::expect_error([&] { estimate_on_card(model, flags, load, {}); }, {"memory", "need", "process", "--memory"});
  }
  flags.card = "gtx960";
  test::expect_error([&] { estimate_on_card(model, flags, {}, {}); }, {"gtx960", "gtx1060-6gb"});
  for (const char* bad : {"card=", "card=,", "card=none", "card=gtx1060-6gb,none"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(parse_card_sweep(bad), Error);
  }
  CHECK(parse_card_sweep("card=all").size() == offload::cards().size());
}
