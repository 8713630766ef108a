#include "offload/device_plan.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "compress/compress_model.h"
#include "compress/leaf_writer.h"
#include "compress/shapes.h"
#include "offload/chunk_sizes.h"
#include "tests/support/expect_error.h"

using namespace leafcutter;
using namespace leafcutter::offload;

namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

compress::LeafIndex index_of(const char* shape, std::size_t layers, std::uint64_t chunk_bytes, const char* format = "q4") {
  compress::ModelDescription model = compress::find_shape(shape).value();
  model.layers.resize(std::min(layers, model.layers.size()));
  compress::FormatChoice choice;
  choice.body = quant::find_format(format)->id;
  return compress::lay_out_leaf(model, compress::plan_tensors(model, choice), chunk_bytes);
}

DeviceRequest request_of(const compress::LeafIndex& index, std::uint64_t device, std::uint64_t memory) {
  DeviceRequest request;
  request.device_budget = device;
  request.context_bytes = 20 * kMiB;
  request.device_buffers = {{"workspace", 3 * kMiB}};
  request.kv_bytes.assign(index.model.layers.size(), kMiB);
  request.host.budget = memory;
  request.host.available = std::uint64_t{1} << 40;
  request.host.already_charged = 30 * kMiB;
  request.host.buffers = {{"logits", kMiB}};
  return request;
}

std::uint64_t bytes_in(const compress::LeafIndex& index, const DevicePlan& plan, Tier tier) {
  std::uint64_t bytes = 0;
  for (const std::uint32_t c : chunks_of_products(index))
    if (plan.residence[c] == tier) bytes += slot_bytes(index.chunks[c]);
  return bytes;
}

// Every byte that a plan has is counted, and no tier has more than its budget.
void check_budgets(const compress::LeafIndex& index, const DeviceRequest& request, const DevicePlan& plan) {
  CHECK(plan.device_total <= request.device_budget);
  CHECK(plan.host_total <= request.host.budget.value());
  CHECK(plan.device_resident_bytes == bytes_in(index, plan, Tier::device));
  CHECK(plan.host_resident_bytes == bytes_in(index, plan, Tier::host));
  std::uint64_t kv_device = 0, kv_host = 0;
  for (std::size_t layer = 0; layer < request.kv_bytes.size(); layer++)
    (plan.kv_on_device[layer] ? kv_device : kv_host) += request.kv_bytes[layer];
  CHECK(plan.device_kv_bytes == kv_device);
  CHECK(plan.host_kv_bytes == kv_host);
  CHECK(plan.device_total ==
        request.context_bytes + plan.device_margin + 3 * kMiB + kv_device + plan.device_ring_bytes + plan.device_resident_bytes);
  CHECK(plan.host_total == plan.host_fixed_bytes + plan.host_buffer_bytes + kv_host + plan.host_ring_bytes + plan.host_resident_bytes +
                               plan.table_bytes + plan.page_table_bytes);
  CHECK((bytes_in(index, plan, Tier::disk) > 0) == (plan.streamed_bytes > 0));
  std::vector<std::uint32_t> not_on_card = chunks_of_products(index);
  std::erase_if(not_on_card, [&](std::uint32_t c) { return plan.residence[c] == Tier::device; });
  if (plan.streamed_bytes > 0) CHECK(plan.host_ring_bytes >= least_ring_bytes(index, not_on_card));
}

}  // namespace

TEST_CASE("budgets hold to the byte in every tier, whatever the model and the budgets") {
  std::mt19937_64 random(5);
  const char* shapes[] = {"llama-1.1b", "cpm-ant-1b", "cpm-ant-300m", "smollm2-135m"};
  const char* formats[] = {"q4", "q8"};
  int placed = 0, refused = 0;
  for (int round = 0; round < 400; round++) {
    // Drawn one by one: in which order arguments are computed is the compiler's choice.
    const char* const shape = shapes[random() % 4];
    const std::size_t layers = 1 + random() % 30;
    const std::uint64_t chunk_bytes = (std::uint64_t{64} << 10) << random() % 7;
    const compress::LeafIndex index = index_of(shape, layers, chunk_bytes, formats[random() % 2]);
    const std::uint64_t device = random() % (800 * kMiB);
    DeviceRequest request = request_of(index, device, random() % (800 * kMiB));
    if (random() % 4 == 0) std::fill(request.kv_bytes.begin(), request.kv_bytes.end(), random() % (30 * kMiB));
    const Residents residents = random() % 2 ? Residents::even : Residents::last_layers;
    const bool ring = residents == Residents::even && random() % 4 != 0;
    PerProduct held_back{};
    if (residents == Residents::even && random() % 2)
      for (double& share : held_back) share = static_cast<double>(random() % 5) / 4;
    CAPTURE(round);
    try {
      const DevicePlan plan = place(index, request, residents, ring, held_back);
      check_budgets(index, request, plan);
      if (ring && bytes_in(index, plan, Tier::host) + bytes_in(index, plan, Tier::disk) > 0)
        CHECK(plan.device_ring_bytes >= least_ring_bytes(index, chunks_of_products(index)));
      placed++;
      // One byte below what a plan that has no room to spare takes, there is another plan or none, never a larger one.
      request.device_budget = plan.device_total - 1;
      std::uint64_t total = 0;
      const auto less = test::error_of([&] { total = place(index, request, residents, ring, held_back).device_total; });
      CHECK(total <= request.device_budget);
      if (less) CHECK(less->find("emory") != std::string::npos);
    } catch (const Error& e) {
      CHECK(e.kind() == ErrorKind::out_of_budget);
      refused++;
    }
  }
  CHECK(placed > 100);
  CHECK(refused > 30);
}

TEST_CASE("the least budgets that an error names are enough, and a byte less is not") {
  const compress::LeafIndex index = index_of("llama-1.1b", 8, kMiB);
  const auto number_after = [](const std::string& text, const std::string& flag) {
    return std::stoull(text.substr(text.find(flag + " to ") + flag.size() + 4));
  };
  const auto device = test::error_of([&] { place(index, request_of(index, 0, 1024 * kMiB), Residents::even, true); });
  REQUIRE(device);
  const std::uint64_t least_device = number_after(*device, "--device-memory");
  const auto host = test::error_of([&] { place(index, request_of(index, least_device, 0), Residents::even, true); });
  REQUIRE(host);
  const std::uint64_t least_host = number_after(*host, "--memory");
  const DeviceRequest request = request_of(index, least_device, least_host);
  const DevicePlan plan = place(index, request, Residents::even, true);
  check_budgets(index, request, plan);
  CHECK(plan.device_total == least_device);
  test::expect_error([&] { place(index, request_of(index, least_device - 1, least_host), Residents::even, true); }, {"--device-memory"});
  test::expect_error([&] { place(index, request_of(index, least_device, least_host - 1), Residents::even, true); }, {"--memory"});
  for (const std::uint64_t absurd : {std::uint64_t{0}, std::uint64_t{1}, 20 * kMiB})
    test::expect_error([&] { place(index, request_of(index, absurd, 1024 * kMiB), Residents::even, true); },
                       {"device memory", "context", "have"});
}

TEST_CASE("residents are spread evenly: every module has nearly the same share on the card") {
  const compress::LeafIndex index = index_of("cpm-ant-1b", 48, kMiB, "q8");
  for (const std::uint64_t mib : {200, 400, 700}) {
    const DevicePlan plan = place(index, request_of(index, mib * kMiB, 4096 * kMiB), Residents::even, true);
    double all = 0, there = 0;
    for (const std::uint32_t c : chunks_of_products(index)) {
      all += static_cast<double>(index.chunks[c].raw_bytes);
      if (plan.residence[c] == Tier::device) there += static_cast<double>(index.chunks[c].raw_bytes);
    }
    for (const compress::ModuleEntry& module : index.modules) {
      if (module.kind != compress::ModuleKind::attention && module.kind != compress::ModuleKind::feed_forward) continue;
      double of_module = 0;
      for (std::uint32_t c = module.first_chunk; c < module.first_chunk + module.chunk_count; c++)
        if (plan.residence[c] == Tier::device) of_module += static_cast<double>(index.chunks[c].raw_bytes);
      // Two chunks: one of rounding, one that the end of the step filled up with.
      CHECK(std::abs(of_module - there / all * static_cast<double>(module.bytes)) <= 2.0 * kMiB);
    }
  }
}

TEST_CASE(
    "what is held back of a product is not on the card though there is room, and where there is not, the rest of each product gives way "
    "alike") {
  const compress::LeafIndex index = index_of("cpm-ant-1b", 48, kMiB, "q8");
  const PerProduct held_back = {0.25, 0, 0.5, 1, 0.1};
  for (const std::uint64_t mib : {5000, 300}) {
    const DevicePlan plan = place(index, request_of(index, mib * kMiB, 4096 * kMiB), Residents::even, true, held_back);
    PerProduct all{}, there{};
    for (const std::uint32_t c : chunks_of_products(index)) {
      const auto product = static_cast<std::size_t>(product_of(index, index.chunks[c]));
      all[product] += static_cast<double>(slot_bytes(index.chunks[c]));
      if (plan.residence[c] == Tier::device) there[product] += static_cast<double>(slot_bytes(index.chunks[c]));
    }
    const double part = there[1] / all[1];  // of what is not held back
    CHECK((part == 1) == (mib == 5000));
    CHECK(plan.device_ring_bytes > 0);
    for (std::size_t p = 0; p < kProducts; p++) {
      CAPTURE(p);
      CHECK(all[p] > 0);
      // A chunk that rounding costs, and what the end of the step is filled up with.
      CHECK(std::abs(there[p] - part * (1 - held_back[p]) * all[p]) <= 6.0 * kMiB);
    }
  }
  CHECK(place(index, request_of(index, 5000 * kMiB, 4096 * kMiB), Residents::even, true).device_ring_bytes == 0);
}

TEST_CASE("keys and values go to the card first; layers that have no room there have theirs in host memory") {
  const compress::LeafIndex index = index_of("llama-1.1b", 10, kMiB);
  DeviceRequest request = request_of(index, 120 * kMiB, 4096 * kMiB);
  request.kv_bytes.assign(10, 10 * kMiB);
  const DevicePlan plan = place(index, request, Residents::even, true);
  check_budgets(index, request, plan);
  const auto first_spilled = std::find(plan.kv_on_device.begin(), plan.kv_on_device.end(), false);
  CHECK(first_spilled != plan.kv_on_device.begin());
  CHECK(first_spilled != plan.kv_on_device.end());
  CHECK(std::find(first_spilled, plan.kv_on_device.end(), true) == plan.kv_on_device.end());
}

TEST_CASE("a static split has whole layers on the card, from the end of the step, with their keys and values") {
  const compress::LeafIndex index = index_of("llama-1.1b", 10, kMiB);
  const DevicePlan plan = place(index, request_of(index, 160 * kMiB, 4096 * kMiB), Residents::last_layers, false);
  CHECK(plan.device_ring_bytes == 0);
  bool on_card = false;
  for (const std::uint32_t c : chunks_of_products(index)) {
    const compress::ModuleEntry& module = index.modules[index.chunks[c].module];
    const bool here = plan.residence[c] == Tier::device;
    CHECK((!on_card || here));
    on_card = here;
    if (module.kind == compress::ModuleKind::attention) CHECK(plan.kv_on_device[module.layer] == here);
    CHECK((plan.decode.host_strips[c] > 0) == !here);
  }
  CHECK(on_card);
}

TEST_CASE("the host's share of a chunk is whole strips from its beginning, nearly the same of every chunk") {
  const compress::LeafIndex index = index_of("cpm-ant-1b", 48, kMiB, "q8");
  const DevicePlan plan = place(index, request_of(index, 300 * kMiB, 4096 * kMiB), Residents::even, true);
  for (const double share : {0.0, 0.3, 0.65, 1.0}) {
    const Sides sides = with_host_share(index, plan, share);
    for (const std::uint32_t c : chunks_of_products(index)) {
      const compress::ChunkEntry& chunk = index.chunks[c];
      const std::uint64_t bytes = bytes_of_first_strips(index, chunk, sides.host_strips[c]);
      if (plan.residence[c] == Tier::device) {
        CHECK(sides.host_strips[c] == 0);
        continue;
      }
      CHECK(bytes <= product_bytes(index, chunk));
      CHECK(bytes % 64 == 0);
      if (share == 1) CHECK(bytes == product_bytes(index, chunk));
      CHECK(std::abs(static_cast<double>(bytes) - share * static_cast<double>(product_bytes(index, chunk))) <= 16 * 1.1 * 4096);  // a strip
    }
  }
}
