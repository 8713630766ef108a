// Whole models through the CUDA device: its driver calls go to a fake driver, its kernels run thread by thread on the host. The tokens are those of the CPU, the numbers nearly so (sums have another order).
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "offload/cuda_device.h"
#include "tests/runtime/ant_models.h"
#include "tests/runtime/device/device_models.h"
#include "tests/runtime/test_models.h"
#include "tests/support/fake_cublas.h"
#include "tests/support/fake_cuda.h"
#include "tests/support/sanitized.h"
#include "tests/support/temporary_folder.h"

using namespace leafcutter;
using namespace leafcutter::testing;
using offload::test::FakeCublas;
using offload::test::FakeCuda;
using offload::test::FakeCudaOptions;

namespace {

const std::vector<std::string> kNoErrors;

std::uint32_t best_of(std::span<const float> logits) {
  return static_cast<std::uint32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

// The tokens that have the highest logits behind a prompt, one after another.
std::vector<std::uint32_t> greedy(runtime::Model& model, std::size_t prompt, std::size_t tokens, bool context) {
  model.truncate(0, 0);
  const std::size_t vocabulary = model.index().model.vocab_size;
  std::vector<runtime::StepRow> rows;
  for (std::size_t i = 0; i < prompt; i++) {
    rows.push_back({static_cast<std::uint32_t>((i * 37 + 11) % vocabulary), i, 0, i + 1 == prompt, context});
    if (context) rows.back().segment = static_cast<std::uint8_t>(i % 2);
  }
  std::vector<std::uint32_t> chosen;
  std::vector<float> logits(vocabulary);
  while (chosen.size() < tokens) {
    model.step(rows, logits);
    chosen.push_back(best_of(logits));
    rows.assign(1, {chosen.back(), prompt + chosen.size() - 1, 0, true});
  }
  return chosen;
}

// The largest difference, as a part of the largest value.
double difference(const std::vector<float>& got, const std::vector<float>& want) {
  double most = 0, largest = 0;
  for (std::size_t i = 0; i < want.size(); i++) {
    if (!std::isfinite(got[i])) return HUGE_VAL;
    most = std::max(most, std::abs(static_cast<double>(got[i]) - want[i]));
    largest = std::max(largest, std::abs(static_cast<double>(want[i])));
  }
  return most / largest;
}

struct Wanted {
  double device_mib = 2, tolerance = 1e-4;
  double host_share = 0;
};

void check(const DeviceCase& c, const Wanted& wanted, const FakeCudaOptions& fake_options) {
  FakeCuda fake(fake_options);
  runtime::LoadOptions options = c.options;
  const std::vector<std::uint32_t> tokens = greedy(*runtime::Model::load(c.path, options), DeviceCase::kPrompt, 12, c.context);
  offload::CudaDeviceOptions cuda;
  cuda.code.ptx = ".version 6.0\n";
  cuda.memory =
      SizeText{.bytes = fake_options.context_bytes + fake_options.code_bytes + static_cast<std::uint64_t>(wanted.device_mib * kMiB)};
  const std::shared_ptr<offload::CudaDevice> device = offload::make_cuda_device(fake.driver(), cuda);
  options.device = device;
  options.host_share = wanted.host_share;
  {
    const auto model = runtime::Model::load(c.path, options);
    const std::vector<float> got = walk(*model, DeviceCase::kPrompt, c.context ? DeviceCase::kPrompt : 6, DeviceCase::kTokens, c.context);
    CHECK(difference(got, c.want) < wanted.tolerance);
    CHECK(greedy(*model, DeviceCase::kPrompt, 12, c.context) == tokens);
  }
  CHECK(device->allocated_bytes() == 0);
  CHECK(fake.errors() == kNoErrors);
  CHECK(fake.calls_of("cuLaunchKernel") > 200);
}

double tolerance_of(quant::FormatId format) { return format == quant::FormatId::q4 || format == quant::FormatId::q8 ? 0.03 : 2e-3; }

}  // namespace

TEST_CASE("LLaMA on the CUDA device gives the CPU's tokens, with weights on it, copied to it and multiplied by the host") {
  const test::TemporaryFolder folder;
  const DeviceCase c(synthesize_to(folder.file("model.leaf"), in_format(quant::FormatId::q4, 65536)), false, kernels::KvType::f16);
  check(c, {.tolerance = tolerance_of(quant::FormatId::q4), .host_share = 0.3}, {.seed = 1});
}

namespace {

// room: for the model, in the card's memory.
void check_with_cublas(std::uint64_t room, bool fits) {
  constexpr std::size_t kPrompt = 66, kTokens = 4;
  const test::TemporaryFolder folder;
  const std::string path = synthesize_to(folder.file("model.leaf"), in_format(quant::FormatId::f16, 65536));
  runtime::LoadOptions options;
  options.threads = 2;
  options.ctx_size = kPrompt + kTokens;
  options.without_tokenizer = true;
  const auto want = greedy(*runtime::Model::load(path, options), kPrompt, kTokens, false);
  const FakeCudaOptions fake_options;
  FakeCuda fake(fake_options);
  FakeCublas blas(fake);
  runtime::LoadOptions on_card = options;
  offload::CudaDeviceOptions cuda;
  cuda.code.ptx = ".version 6.0\n";
  cuda.cublas = blas.library();
  const std::uint64_t taken = offload::make_cuda_device(fake.driver(), cuda)->overhead().cublas_bytes;
  cuda.memory = SizeText{.bytes = fake_options.context_bytes + fake_options.code_bytes + taken + room};
  on_card.device = offload::make_cuda_device(fake.driver(), cuda);
  const auto model = runtime::Model::load(path, on_card);
  CHECK((model->device_plan()->device_ring_bytes == 0) == fits);
  CHECK(greedy(*model, kPrompt, kTokens, false) == want);
  CHECK(blas.calls_of("cublasGemmEx") > 20);
  CHECK(fake.errors() == kNoErrors);
}

}  // namespace

// With a sanitizer a minute and a half; offload/cuda has the same products there.
TEST_CASE("prompts of a model in f16 through cuBLAS give the CPU's tokens, with weights copied to the card" *
          doctest::skip(test::kSanitized)) {
  check_with_cublas(5 * kMiB, false);
}

TEST_CASE("slow: prompts of a model in f16 through cuBLAS give the CPU's tokens, with all weights on the card") {
  check_with_cublas(40 * kMiB, true);
}

TEST_CASE("CPM-Ant on the CUDA device gives the CPU's tokens") {
  const test::TemporaryFolder folder;
  const DeviceCase c(random_ant_to(folder.file("ant.leaf"), in_format(quant::FormatId::f32, 8192)), true, kernels::KvType::f16);
  check(c, {.tolerance = 2e-3}, {.seed = 4});
}

TEST_CASE("slow: LLaMA on the CUDA device, in every format, resident and copied, in other orders of threads") {
  const test::TemporaryFolder folder;
  for (const quant::FormatId format : {quant::FormatId::q4, quant::FormatId::q8, quant::FormatId::f16, quant::FormatId::f32}) {
    CAPTURE(static_cast<int>(format));
    const DeviceCase c(synthesize_to(folder.file("model.leaf"), in_format(format, 65536)), false, kernels::KvType::f16);
    check(c, {.device_mib = 30, .tolerance = tolerance_of(format)}, {.seed = 2, .threads = {gpu::emulation::ThreadOrder::random, 5}});
    // What else may lie where has nothing to do with the format.
    if (format != quant::FormatId::q4) continue;
    check(c, {.tolerance = tolerance_of(format)}, {.seed = 1});
    check(c, {.tolerance = tolerance_of(format), .host_share = 0.3}, {.seed = 3});
  }
}

TEST_CASE("slow: CPM-Ant on the CUDA device, with every type of keys") {
  const test::TemporaryFolder folder;
  for (const auto kv_type : {kernels::KvType::f32, kernels::KvType::f16, kernels::KvType::q8}) {
    CAPTURE(static_cast<int>(kv_type));
    const DeviceCase c(random_ant_to(folder.file("ant.leaf"), in_format(quant::FormatId::f32, 8192)), true, kv_type);
    check(c, {.tolerance = kv_type == kernels::KvType::q8 ? 0.03 : 2e-3}, {.seed = 5, .threads = {gpu::emulation::ThreadOrder::reverse}});
  }
}
