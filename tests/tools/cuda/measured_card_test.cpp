// A model on a card whose rates were measured: the plan is chosen by them as for a card of the table, the host computes its share, and the tokens are the CPU's.
#include "tools/measured_card.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>

#include "compress/leaf_reader.h"
#include "runtime/model.h"
#include "tests/runtime/test_models.h"
#include "tests/support/fake_cuda.h"
#include "tests/support/temporary_folder.h"
#include "tools/cache_file.h"
#include "tools/card_cache.h"

using namespace leafcutter;
using namespace leafcutter::tools;
using offload::test::FakeCuda;
using offload::test::FakeCudaOptions;

namespace {

constexpr std::uint64_t kMiB = 1 << 20;

std::vector<std::uint32_t> greedy(runtime::Model& model, std::size_t tokens) {
  const std::size_t vocabulary = model.index().model.vocab_size;
  std::vector<runtime::StepRow> rows;
  for (std::size_t i = 0; i < 9; i++) rows.push_back({static_cast<std::uint32_t>((i * 37 + 11) % vocabulary), i, 0, i == 8});
  std::vector<std::uint32_t> chosen;
  std::vector<float> logits(vocabulary);
  while (chosen.size() < tokens) {
    model.step(rows, logits);
    chosen.push_back(static_cast<std::uint32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin()));
    rows.assign(1, {chosen.back(), 8 + chosen.size(), 0, true});
  }
  return chosen;
}

}  // namespace

TEST_CASE("rates of card and host choose who computes what on a card, and the tokens are the CPU's") {
  const test::TemporaryFolder folder;
  setenv("LEAFCUTTER_CACHE", folder.file("cache").c_str(), 1);
  const std::string path = testing::synthesize_to(folder.file("model.leaf"), testing::in_format(quant::FormatId::q4, 65536));
  runtime::LoadOptions options;
  options.threads = 2;
  options.ctx_size = 32;
  options.without_tokenizer = true;
  const std::vector<std::uint32_t> want = greedy(*runtime::Model::load(path, options), 4);

  FakeCudaOptions fake_options;
  fake_options.link_bytes_per_s = 50e6;  // so slow that the host is better
  FakeCuda fake(fake_options);
  offload::CudaDeviceOptions cuda;
  cuda.code.ptx = ".version 6.0\n";
  cuda.memory = SizeText{.bytes = fake_options.context_bytes + fake_options.code_bytes + 4 * kMiB};
  std::string said;
  const auto note = [&](const std::string& text) { said += text; };
  const RatesRequest request{2, path, offload::products_of(compress::read_leaf_index(*open_file(path))), false};
  {
    const std::shared_ptr<offload::CudaDevice> device = offload::make_cuda_device(fake.driver(), cuda);
    CHECK_FALSE(rates_of_this_card(*device, request, false, note));  // nothing is known of the host, and it may not be measured
    CHECK(said.find("plan MODEL") != std::string::npos);
    CHECK_FALSE(card_rates(device->card(), device->driver_version()));
    const auto rates = rates_of_this_card(*device, request, true, note);
    REQUIRE(rates);
    CHECK(rates->card.link_bytes_per_s == doctest::Approx(50e6).epsilon(0.02));
    CHECK(rates->host.dram_bytes_per_s > 0);
    CHECK(rates->host.disk_bytes_per_s > 0);
    const auto kept = card_rates(device->card(), device->driver_version());
    REQUIRE(kept);
    CHECK(kept->launch_s == doctest::Approx(rates->card.launch_s));
    CHECK_FALSE(card_rates(device->card(), device->driver_version() + 1));

    // Who computes what depends on the host, and this one may be slow or busy: from here on it is one of the table, with the card as measured.
    options.device = device;
    options.device_rates = offload::DeviceRates{rates->card, offload::find_card_host("desktop-ddr4")};
    const auto model = runtime::Model::load(path, options);
    const offload::CardPrediction* const prediction = model->device_prediction();
    REQUIRE(prediction);
    CHECK(prediction->best().tokens_per_s() > 0);
    CHECK(prediction->best().host_share == 1);
    CHECK(model->device_plan()->host_resident_bytes > 0);
    CHECK(greedy(*model, 4) == want);
    options.device.reset();
  }
  // Once known, nothing of the card is measured again; the host may have to be, where others disturbed it.
  const std::size_t launches = fake.calls_of("cuLaunchKernel");
  const auto device = offload::make_cuda_device(fake.driver(), cuda);
  CHECK(rates_of_this_card(*device, request, true, note));
  CHECK(fake.calls_of("cuLaunchKernel") == launches);
  CHECK(fake.errors() == std::vector<std::string>{});
  nlohmann::json all = read_cache();
  for (auto& [key, kept] : all.items())
    if (key.find(" card ") != std::string::npos) kept["launch_s"] = "soon";
  write_cache(all);
  CHECK_FALSE(card_rates(device->card(), device->driver_version()));
  unsetenv("LEAFCUTTER_CACHE");
}
