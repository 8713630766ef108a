#include "offload/card_simulator.h"

#include <doctest/doctest.h>

#include <cmath>
#include <random>

using namespace leafcutter::offload;

namespace {

constexpr std::uint64_t kChunk = 4 << 20;

// Round numbers: 10 GB/s link, 30 GB/s memory, 1 GB/s disk, nothing else takes time.
Card round_card() {
  Card card = find_card("gtx1060-6gb");
  card.link_bytes_per_s = 10e9;
  card.link_latency_s = 0;
  return card;
}
CardHost round_host() {
  CardHost host = find_card_host("desktop-ddr4");
  host.dram_bytes_per_s = 30e9;
  host.disk_bytes_per_s = 1e9;
  host.disk_latency_s = 0;
  return host;
}

CardStage end_of_step() {
  CardStage stage;
  stage.host.push_back({});
  return stage;
}

// `n` stages, each with a kernel that waits for a copy of its own.
CardStep copied_step(std::size_t n, double kernel_seconds, std::uint64_t ring) {
  CardStep step;
  step.card_ring_bytes = ring;
  for (std::size_t i = 0; i < n; i++) {
    CardStage stage;
    stage.card.push_back({kernel_seconds, i});
    step.stages.push_back(stage);
    step.copies.push_back({kChunk, kChunk, false});
    step.copy_source.push_back(kNone);
  }
  step.stages.push_back(end_of_step());
  return step;
}

double copy_seconds() { return kChunk / 10e9; }
double off(double value, double expected) { return std::abs(value - expected) / expected; }

}  // namespace

TEST_CASE("a step that waits for the link takes its bytes at the link's rate, kernels hide behind them") {
  const CardStepTime time = simulate_card(copied_step(32, copy_seconds() / 3, 8 * kChunk), round_card(), round_host(), 2, 4);
  CHECK(off(time.seconds, 32 * copy_seconds()) < 1e-6);
  CHECK(off(time.link, time.seconds) < 1e-6);
  CHECK(off(time.card, 32 * copy_seconds() / 3) < 1e-6);
  CHECK(std::string(time.limit()) == "link");
}

TEST_CASE("a step that waits for kernels takes that long, copies hide behind them") {
  const CardStepTime time = simulate_card(copied_step(32, 3 * copy_seconds(), 8 * kChunk), round_card(), round_host(), 2, 4);
  CHECK(off(time.seconds, 32 * 3 * copy_seconds()) < 1e-6);
  CHECK(std::string(time.limit()) == "device");
}

TEST_CASE("a ring of one chunk makes copies and kernels take turns") {
  const CardStepTime time = simulate_card(copied_step(8, copy_seconds(), kChunk), round_card(), round_host(), 2, 4);
  CHECK(off(time.seconds, 8 * 2 * copy_seconds()) < 1e-6);
  CHECK(off(time.wait_link, 8 * copy_seconds()) < 1e-6);
}

TEST_CASE("copies go on across the end of a step unless they are told not to") {
  // The last stage computes as long as the ring takes to fill.
  CardStep step = copied_step(8, 0, 8 * kChunk);
  step.stages.insert(step.stages.end() - 1, CardStage{{{8 * copy_seconds(), kNone}}, {}, 0, 0});
  CHECK(off(simulate_card(step, round_card(), round_host(), 2, 4).seconds, 8 * copy_seconds()) < 1e-6);
  step.look_ahead_over_steps = false;
  CHECK(off(simulate_card(step, round_card(), round_host(), 2, 4).seconds, 16 * copy_seconds()) < 1e-6);
}

TEST_CASE("the host's share and the card's run at once, and each exchange costs the way down and up") {
  Card card = round_card();
  card.link_latency_s = 1e-5;
  CardStep step;
  for (int i = 0; i < 10; i++) {
    CardStage stage;
    stage.card.push_back({0.001, kNone});
    stage.host.push_back({0.003, 0, kNone});
    stage.input_bytes = 20'000;   // 2 us
    stage.output_bytes = 40'000;  // 4 us
    step.stages.push_back(stage);
  }
  step.stages.push_back(end_of_step());
  const CardStepTime time = simulate_card(step, card, round_host(), 2, 4);
  // And down and up at the end of the step, without bytes.
  CHECK(off(time.seconds, 10 * (0.003 + 2e-5 + 6e-6) + 2e-5) < 1e-4);
  CHECK(off(time.host, 0.03) < 1e-6);
  CHECK(off(time.card, 0.01) < 1e-6);
  CHECK(std::string(time.limit()) == "host");
}

TEST_CASE("stages of the host alone exchange nothing between them") {
  Card card = round_card();
  card.link_latency_s = 1e-4;
  CardStep step;
  CardStage on_card, on_host;
  on_card.card.push_back({0.001, kNone});
  on_host.host.push_back({0.001, 0, kNone});
  for (const bool host : {false, false, true, true, true}) step.stages.push_back(host ? on_host : on_card);
  step.stages.push_back(end_of_step());
  // Down once, and up at the beginning of the next step.
  CHECK(off(simulate_card(step, card, round_host(), 2, 4).seconds, 0.005 + 2e-4) < 1e-4);
}

TEST_CASE("copies and products share the host's memory") {
  // 20 chunks are copied at 10 GB/s while the host could use all of the 30: it gets what is left.
  CardStep step = copied_step(20, 0, 8 * kChunk);
  for (std::size_t i = 0; i < 20; i++) {
    const double bytes = 3.0 * kChunk;
    step.stages[i].host.push_back({bytes / 30e9, bytes, kNone});
  }
  const CardStepTime time = simulate_card(step, round_card(), round_host(), 2, 4);
  const double all = 20 * 4.0 * kChunk / 30e9;
  CHECK(off(time.bound_host, all) < 1e-9);
  CHECK(time.seconds >= all * (1 - 1e-9));
  CHECK(time.seconds <= all * 1.01);
}

TEST_CASE("with one copy engine activations go down when the copy that is under way has ended") {
  Card card = round_card();
  CardStep step = copied_step(8, 0, 8 * kChunk);
  for (std::size_t i = 0; i < 8; i++) step.stages[i].host.push_back({copy_seconds() / 2, 0, kNone});
  const double two = simulate_card(step, card, round_host(), 2, 4).seconds;
  card.copy_engines = 1;
  const double one = simulate_card(step, card, round_host(), 2, 4).seconds;
  CHECK(off(two, 8 * copy_seconds()) < 1e-6);
  CHECK(one >= two * (1 - 1e-9));
  CHECK(one <= 8 * 2 * copy_seconds());
}

TEST_CASE("chunks from disk pass both rings") {
  for (const std::uint64_t ring : {8 * kChunk, 4 * kChunk}) {
    CardStep step = copied_step(32, 1e-4, ring);
    step.host_ring_bytes = ring;
    for (std::size_t i = 0; i < 32; i++) {
      step.disk.push_back({{kChunk, kChunk, false}, 1e-5, 1});
      step.copies[i].from_disk = true;
      step.copy_source[i] = i;
    }
    const CardStepTime time = simulate_card(step, round_card(), round_host(), 2, 4);
    CHECK(off(time.seconds, 32 * kChunk / 1e9) < 1e-6);
    CHECK(std::string(time.limit()) == "disk");
    CHECK(time.wait_disk > 0.8 * time.seconds);
  }
}

TEST_CASE("no schedule is faster than its slowest lane, slower than all of them in turn, or another one the second time") {
  std::mt19937_64 random(11);
  const auto up_to = [&](double most) { return std::uniform_real_distribution<double>(0, most)(random); };
  for (int round = 0; round < 300; round++) {
    CardStep step;
    step.card_ring_bytes = 4 * kChunk + random() % (32 << 20);
    step.host_ring_bytes = 4 * kChunk + random() % (32 << 20);
    step.look_ahead_over_steps = random() % 4 != 0;
    double exchanges = 0;
    const Card card = round_card();
    const std::size_t stages = 1 + random() % 30;
    for (std::size_t s = 0; s < stages; s++) {
      CardStage stage;
      const bool on_card = random() % 4 != 0;
      if (on_card) stage.card.push_back({up_to(0.001), kNone});
      for (std::size_t c = 0; c < random() % 5; c++) {
        const bool from_disk = random() % 3 == 0, copied = on_card && random() % 2, host = !copied || random() % 2;
        const std::size_t bytes = 4096 * (1 + random() % 1024);
        const std::size_t source = from_disk ? step.disk.size() : kNone;
        if (from_disk) step.disk.push_back({{bytes, bytes, false}, up_to(0.002), copied + host});
        if (copied) {
          stage.card.push_back({up_to(0.001), step.copies.size()});
          step.copies.push_back({bytes, bytes, from_disk});
          step.copy_source.push_back(source);
        }
        if (host) stage.host.push_back({static_cast<double>(bytes) / (1e9 + up_to(29e9)), static_cast<double>(bytes), source});
      }
      stage.input_bytes = random() % 100'000;
      stage.output_bytes = random() % 100'000;
      exchanges += static_cast<double>(stage.input_bytes + stage.output_bytes) / card.link_bytes_per_s;
      if (!stage.card.empty() || !stage.host.empty()) step.stages.push_back(stage);
    }
    step.stages.push_back(end_of_step());
    const CardStepTime time = simulate_card(step, card, round_host(), 2, 8);
    CAPTURE(round);
    CHECK(time.seconds >= time.bound() * (1 - 1e-3));  // the rings may end emptier than they began
    // A product may go at a fraction of its speed while something is copied, no longer than that lasts.
    const double in_turn = time.bound_disk + time.bound_check + 2 * time.bound_link + time.bound_card + 2 * time.bound_host + exchanges;
    CHECK(time.seconds <= in_turn * (1 + 1e-6) + 1e-6);
    CHECK(off(time.card + time.wait_host + time.wait_link + time.wait_disk, time.seconds) < 1e-6);
    CHECK(simulate_card(step, card, round_host(), 2, 8).seconds == time.seconds);
  }
}
