// The CUDA device over a fake driver: what it calls and with what, in which order, and what becomes of each call that fails.
#include "offload/cuda_device.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <thread>

#include "offload/device_memory.h"
#include "tests/support/expect_error.h"
#include "tests/support/fake_cuda.h"

using namespace leafcutter;
using namespace leafcutter::offload;
using leafcutter::offload::test::FakeCall;
using leafcutter::offload::test::FakeCard;
using leafcutter::offload::test::FakeCuda;
using leafcutter::offload::test::FakeCudaOptions;
using leafcutter::test::error_of;
using leafcutter::test::expect_error;

namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::string_view kPtx = ".version 6.0\n.target sm_61\n";
constexpr std::byte kElf[] = {std::byte{0x7f}, std::byte{'E'}, std::byte{'L'}, std::byte{'F'}};

CudaDeviceOptions with_code() {
  CudaDeviceOptions options;
  options.code = {kPtx, kElf};
  return options;
}

struct Omissions {
  bool wait_for_copy = false, wait_for_use = false;
};

// Adds chunks that come by a ring of two places to some rows, as weights are streamed: every call of Device, pinned memory and other, one piece and rows with strides.
class Adder {
 public:
  static constexpr std::size_t kValues = 64, kChunks = 5, kBytes = kValues * sizeof(float), kRows = 4, kRowBytes = kBytes / kRows;

  explicit Adder(Device& device)
      : device_(device),
        copies_(device.make_stream()),
        compute_(device.make_stream()),
        ring_(device, 2 * kBytes, "ring"),
        sum_(device, kBytes, "sum"),
        spread_(device, 2 * kBytes, "rows with room between them"),
        pages_(kChunks * kBytes, "chunks"),
        pinned_(device, pages_.bytes()),
        answer_(device, kBytes, "answer") {
    for (std::size_t i = 0; i < 2; i++) {
      copied_[i] = device.make_event();
      used_[i] = device.make_event();
    }
    auto* chunks = reinterpret_cast<float*>(pages_.data());
    for (std::size_t i = 0; i < kChunks * kValues; i++) chunks[i] = static_cast<float>(i * 7 % 101);
  }

  std::vector<float> run(const Omissions& omit = {}) {
    std::vector<float> start(kValues);
    std::iota(start.begin(), start.end(), 1.0f);
    device_.copy_to_device(sum_.address(), reinterpret_cast<const std::byte*>(start.data()), {kBytes}, compute_);
    std::fill(start.begin(), start.end(), -1.0f);  // it is not pinned: the call has taken it
    for (std::size_t c = 0; c < kChunks; c++) {
      const std::size_t slot = c % 2;
      const DeviceAddress place = ring_.address() + slot * kBytes;
      if (c >= 2 && !omit.wait_for_use) device_.wait(copies_, used_[slot]);
      device_.copy_to_device(place, pages_.data() + c * kBytes, {kBytes}, copies_);
      device_.record(copied_[slot], copies_);
      if (!omit.wait_for_copy) device_.wait(compute_, copied_[slot]);
      AddLaunch add;
      add.x = sum_.address();
      add.y = place;
      add.n = kValues;
      device_.launch(add, compute_);
      device_.record(used_[slot], compute_);
      (void)device_.is_done(used_[slot]);
    }
    device_.copy_on_device(spread_.address(), sum_.address(), {kRowBytes, kRows, 2 * kRowBytes, kRowBytes}, compute_);
    device_.copy_to_host(answer_.data(), spread_.address(), {kRowBytes, kRows, kRowBytes, 2 * kRowBytes}, compute_);
    device_.record(used_[0], compute_);
    device_.synchronize(used_[0]);
    std::vector<float> got(kValues);
    std::memcpy(got.data(), answer_.data(), kBytes);
    // Up and down again, through memory that is not pinned.
    std::vector<float> again(kValues);
    device_.copy_to_device(spread_.address(), reinterpret_cast<const std::byte*>(got.data()), {kRowBytes, kRows, 2 * kRowBytes, kRowBytes},
                           compute_);
    device_.copy_to_host(reinterpret_cast<std::byte*>(again.data()), spread_.address(), {kRowBytes, kRows, kRowBytes, 2 * kRowBytes},
                         compute_);
    device_.synchronize(compute_);
    device_.synchronize(copies_);
    return again;
  }

  static std::vector<float> expected() {
    std::vector<float> sum(kValues);
    for (std::size_t i = 0; i < kValues; i++) {
      sum[i] = static_cast<float>(i + 1);
      for (std::size_t c = 0; c < kChunks; c++) sum[i] += static_cast<float>((c * kValues + i) * 7 % 101);
    }
    return sum;
  }

 private:
  Device& device_;
  const DeviceStream copies_, compute_;
  const DeviceBuffer ring_, sum_, spread_;
  const PageBuffer pages_;
  const PinnedPages pinned_;
  const StagingBuffer answer_;
  DeviceEvent copied_[2]{}, used_[2]{};
};

const std::vector<std::string> kNoErrors;

std::vector<std::uint64_t> arguments_of(const FakeCuda& fake, std::string_view name) {
  for (const FakeCall& call : fake.calls())
    if (call.name == name) return call.arguments;
  return {};
}

}  // namespace

TEST_CASE("a CUDA device adds what it is sent, in every order of streams, without misuse or leaks") {
  for (std::uint64_t seed = 1; seed <= 40; seed++) {
    CAPTURE(seed);
    FakeCuda fake({.seed = seed});
    {
      const auto device = make_cuda_device(fake.driver(), with_code());
      CHECK(device->properties().name == "GeForce GTX 1060 3GB");
      CHECK(device->properties().copy_engines == 2);
      CHECK(device->runs_cubin());
      CHECK(Adder(*device).run() == Adder::expected());
      CHECK(device->allocated_bytes() == 0);
      CHECK(device->most_allocated_bytes() == 5 * Adder::kBytes);
    }
    CHECK(fake.errors() == kNoErrors);
    CHECK(fake.alive() == "");
    CHECK(fake.left_to_context() == "");
  }
}

TEST_CASE("what nothing puts in order is found over the driver's calls") {
  for (std::uint64_t seed = 1; seed <= 20; seed++) {
    CAPTURE(seed);
    const auto first_error = [&](const Omissions& omit) {
      FakeCuda fake({.seed = seed});
      const auto device = make_cuda_device(fake.driver(), with_code());
      Adder(*device).run(omit);
      return fake.errors().empty() ? std::string() : fake.errors().front();
    };
    CHECK(first_error({.wait_for_copy = true}).find("lc_add") != std::string::npos);
    CHECK(first_error({.wait_for_use = true}).find("copy to device") != std::string::npos);
  }
}

TEST_CASE("the driver is given what its functions take, in their order") {
  FakeCuda fake;
  const auto device = make_cuda_device(fake.driver(), with_code());
  const DeviceStream stream = device->make_stream();
  const DeviceEvent event = device->make_event();
  const DeviceBuffer memory(*device, 4096, "memory");
  const StagingBuffer host(*device, 4096, "host");
  const auto place = reinterpret_cast<std::uint64_t>(host.data());
  device->copy_to_device(memory.address() + 256, host.data() + 64, {128}, stream);
  device->record(event, stream);
  device->wait(stream, event);
  device->copy_to_host(host.data() + 512, memory.address() + 512, {32}, stream);
  device->copy_on_device(memory.address() + 1024, memory.address() + 256, {16}, stream);
  AddLaunch add;
  add.x = memory.address();
  add.y = memory.address() + 2048;
  add.n = 300;
  device->launch(add, stream);
  add.n = 0;
  device->launch(add, stream);  // nothing to do: no launch
  device->synchronize(stream);
  const std::uint64_t s = arguments_of(fake, "cuStreamSynchronize").at(0), e = arguments_of(fake, "cuEventRecord").at(0);
  using Arguments = std::vector<std::uint64_t>;
  CHECK(arguments_of(fake, "cuMemcpyHtoDAsync_v2") == Arguments{memory.address().value + 256, place + 64, 128, s});
  CHECK(arguments_of(fake, "cuMemcpyDtoHAsync_v2") == Arguments{place + 512, memory.address().value + 512, 32, s});
  CHECK(arguments_of(fake, "cuMemcpyDtoDAsync_v2") == Arguments{memory.address().value + 1024, memory.address().value + 256, 16, s});
  CHECK(arguments_of(fake, "cuEventRecord") == Arguments{e, s});
  CHECK(arguments_of(fake, "cuStreamWaitEvent") == Arguments{s, e, 0});
  CHECK(arguments_of(fake, "cuStreamCreate").at(1) == cuda::kStreamNonBlocking);
  CHECK(arguments_of(fake, "cuMemHostAlloc").at(1) == 4096);
  CHECK(fake.calls_of("cuLaunchKernel") == 1);
  const Arguments launch = arguments_of(fake, "cuLaunchKernel");
  CHECK(launch.at(1) * launch.at(4) >= 300);
  CHECK(Arguments(launch.begin() + 5, launch.begin() + 9) == Arguments{1, 1, 0, s});
  CHECK(fake.errors() == kNoErrors);
}

TEST_CASE("a launch that no kernel can have is a DeviceError with what to do, makes no call, and what comes next works") {
  FakeCuda fake;
  const auto device = make_cuda_device(fake.driver(), with_code());
  const DeviceStream stream = device->make_stream();
  ProductLaunch product;
  product.layout = leafcutter::kernels::Layout::plain;
  product.k = product.rows = product.strips = 1;
  StoreKvLaunch store;
  store.rows = 1;
  store.kv_heads = 1 << 20;
  store.head_dim = 64;
  AttendLaunch attend;
  attend.rows = attend.heads = attend.kv_heads = 1;
  attend.head_dim = 3;
  const auto refused = [&](const auto& launch, std::initializer_list<std::string> parts) {
    expect_error([&] { device->launch(launch, stream); }, parts);
    CHECK_THROWS_AS(device->launch(launch, stream), DeviceError);
  };
  refused(product, {device->properties().name, "product", "found layout 0", "--device cpu"});
  refused(store, {device->properties().name, "lc_store_kv_f16", "1048576 blocks", "65535 at most", "fewer rows"});
  refused(attend, {device->properties().name, "attend", "even head dimension", "found 3", "--device cpu"});
  CHECK(fake.calls_of("cuLaunchKernel") == 0);
  device->synchronize(stream);
  CHECK(fake.errors() == kNoErrors);
}

TEST_CASE("a card reads pinned memory by a kernel, where it can, and copies what is not pinned or no words") {
  for (const bool reads : {true, false}) {
    CAPTURE(reads);
    FakeCard card;
    card.reads_host_memory = reads;
    FakeCudaOptions options;
    options.cards = {card};
    FakeCuda fake(options);
    const auto device = make_cuda_device(fake.driver(), with_code());
    const DeviceStream stream = device->make_stream();
    const DeviceBuffer there(*device, 4096, "there");
    const PageBuffer pages(8192, "pages");
    const StagingBuffer allocated(*device, 4096, "allocated");
    const PinnedPages registered(*device, pages.bytes());
    const std::vector<std::byte> ordinary(4096, std::byte{3});
    std::memset(allocated.data(), 1, allocated.size());
    std::memset(pages.data(), 2, pages.size());
    const auto fetched = [&](const std::byte* from, const CopyShape& shape, std::byte want, bool is_kernel) {
      const std::size_t launches = fake.calls_of("cuLaunchKernel");
      device->fetch(there.address() + 256, from, shape, stream);
      std::vector<std::byte> got(shape.row_bytes);
      device->copy_to_host(got.data(), there.address() + 256 + (shape.rows - 1) * shape.to_stride, {got.size()}, stream);
      device->synchronize(stream);
      CHECK(got == std::vector<std::byte>(shape.row_bytes, want));
      CHECK((fake.calls_of("cuLaunchKernel") > launches) == is_kernel);
    };
    fetched(allocated.data() + 4, {400}, std::byte{1}, reads);
    fetched(pages.data() + 64, {400, 3, 512, 1024}, std::byte{2}, reads);
    fetched(allocated.data(), {401}, std::byte{1}, false);
    fetched(allocated.data() + 2, {400}, std::byte{1}, false);
    fetched(ordinary.data(), {400}, std::byte{3}, false);
    CHECK(fake.errors() == kNoErrors);
  }
}

TEST_CASE("a device may be used by one thread after another") {
  FakeCuda fake;
  const auto device = make_cuda_device(fake.driver(), with_code());
  std::thread([&] { CHECK(Adder(*device).run() == Adder::expected()); }).join();
  CHECK(Adder(*device).run() == Adder::expected());
  CHECK(fake.errors() == kNoErrors);
}

TEST_CASE(
    "each driver call that fails is an error that names it, leaves nothing behind, and what comes next works unless the device is lost") {
  std::size_t failures = 0, losses = 0, kept_going = 0;
  for (const CudaResult result : {CudaResult::invalid_value, CudaResult::out_of_memory, CudaResult::illegal_address, CudaResult::unknown})
    for (std::uint64_t index = 0;; index++) {
      CAPTURE(static_cast<int>(result));
      CAPTURE(index);
      FakeCuda fake({.seed = index});
      const CudaDriver driver = fake.driver();
      fake.fail_call(index, result);
      std::unique_ptr<CudaDevice> device;
      bool lost = false;
      std::string message;
      try {
        device = make_cuda_device(driver, with_code());
        const std::vector<float> got = Adder(*device).run();
        CHECK(got == Adder::expected());
      } catch (const DeviceError& e) {
        message = e.what();
        lost = e.failure() == DeviceFailure::lost;
      } catch (const Error& e) { message = e.what(); }
      const bool failed = fake.has_failed();
      const std::string call(failed ? fake.calls().at(index).name : "");
      CAPTURE(call);
      CAPTURE(message);
      if (!message.empty()) {
        failures++;
        CHECK(message.find(call) != std::string::npos);
        CHECK(message.find('\n') == std::string::npos);
        CHECK(message.find("CUDA_ERROR_") != std::string::npos);
      } else if (failed) {
        kept_going++;  // pinned memory that was refused, or something that was freed
      }
      if (device && lost) {
        losses++;
        expect_error([&] { device->make_stream(); }, {"lost", call});
        CHECK_FALSE(device->drain());
      } else if (device && device->drain()) {
        CHECK(device->allocated_bytes() == 0);
        CHECK(Adder(*device).run() == Adder::expected());
      }
      if (is_lost(result)) CHECK((!failed || lost || !device || message.empty()));
      device.reset();
      CHECK(fake.errors() == kNoErrors);
      CHECK(fake.alive() == "");
      device = make_cuda_device(driver, with_code());  // a new one works in any case
      CHECK(Adder(*device).run() == Adder::expected());
      if (!failed) break;
    }
  MESSAGE(failures << " errors, " << losses << " of a lost device; " << kept_going << " refusals that change nothing");
  CHECK(failures > 300);
  CHECK(losses > 100);
  CHECK(kept_going > 10);
}

TEST_CASE("work that fails while it runs loses the device: the next call says so") {
  for (std::uint64_t index = 0; index < 12; index++) {
    CAPTURE(index);
    FakeCuda fake({.seed = index + 1});
    auto device = make_cuda_device(fake.driver(), with_code());
    fake.fail_work(index, CudaResult::launch_failed);
    expect_error([&] { Adder(*device).run(); }, {"CUDA_ERROR_LAUNCH_FAILED", "lost", "--device cpu"});
    CHECK_FALSE(device->drain());
    expect_error([&] { device->allocate(1, "more"); }, {"lost"});
    device.reset();
    CHECK(fake.alive() == "");
    device = make_cuda_device(fake.driver(), with_code());
    CHECK(Adder(*device).run() == Adder::expected());
    CHECK(fake.errors() == kNoErrors);
  }
}

TEST_CASE("memory that may be taken holds the context and the code, too") {
  const auto memory_of = [](CudaDeviceOptions options, const FakeCudaOptions& fake_options = {}) {
    FakeCuda fake(fake_options);
    const auto device = make_cuda_device(fake.driver(), options);
    CHECK(device->overhead().context_bytes == fake_options.context_bytes);
    CHECK(device->overhead().code_bytes == fake_options.code_bytes);
    CHECK(fake.calls_of("cuCtxCreate_v2") == 2);
    CHECK(fake.calls_of("cuCtxDestroy_v2") == 1);
    return device->properties().memory_bytes;
  };
  CudaDeviceOptions options = with_code();
  CHECK(memory_of(options) == (3072 - 200 - 70 - 4 - 64) * kMiB);
  options.memory = SizeText{.bytes = 500 * kMiB};
  CHECK(memory_of(options) == (500 - 70 - 4) * kMiB);
  options.memory = SizeText{.bytes = 10'000 * kMiB};
  CHECK(memory_of(options) == (3072 - 200 - 70 - 4 - 64) * kMiB);
  options.memory = SizeText{.bytes = 60 * kMiB};
  FakeCuda fake;
  expect_error([&] { make_cuda_device(fake.driver(), options); }, {"--device-memory", "60.0 MiB", "74.0 MiB"});
  CHECK(fake.alive() == "");

  options.memory = SizeText{.bytes = 100 * kMiB};
  const auto device = make_cuda_device(fake.driver(), options);
  const DeviceBuffer first(*device, 20 * kMiB, "first");
  expect_error([&] { device->allocate(7 * kMiB, "KV cache"); }, {"KV cache", "7.00 MiB", "6.00 MiB", "26.0 MiB", "--device-memory"});
}

TEST_CASE("memory that another program takes meanwhile is an error of that allocation") {
  FakeCuda fake;
  const auto device = make_cuda_device(fake.driver(), with_code());
  fake.fail_call(1, CudaResult::out_of_memory);  // behind making the context current
  try {
    device->allocate(kMiB, "resident weights");
    FAIL("it was refused");
  } catch (const DeviceError& e) {
    CHECK(e.failure() == DeviceFailure::out_of_memory);
    CHECK(std::string(e.what()).find("cuMemAlloc_v2 for resident weights, 1.00 MiB") != std::string::npos);
  }
  device->free(device->allocate(kMiB, "again"));
}

TEST_CASE("there is one clear line for no driver, an old one, no card, a card too old and a number too high") {
  const auto message = [](const FakeCudaOptions& options, int gpu = 0) {
    FakeCuda fake(options);
    CudaDeviceOptions wanted = with_code();
    wanted.gpu = gpu;
    const auto error = error_of([&] { make_cuda_device(fake.driver(), wanted); });
    CHECK(fake.errors() == kNoErrors);
    CHECK(fake.alive() == "");
    return error.value_or("");
  };
  const auto has = [](const std::string& text, std::initializer_list<const char*> parts) {
    CAPTURE(text);
    CHECK(text.find('\n') == std::string::npos);
    for (const char* part : parts) CHECK(text.find(part) != std::string::npos);
  };
  unsetenv("CUDA_VISIBLE_DEVICES");
  expect_error([] { load_cuda_driver("libno_such_driver.so.1"); }, {"no NVIDIA driver", "libno_such_driver.so.1", "--device cpu"});
  expect_error([] { load_cuda_driver("libm.so.6"); }, {"libm.so.6", "cuInit", "too old"});
  has(message({.driver_version = 8000}), {"8.0", "9.0", "newer driver"});
  has(message({.cards = {}}), {"no card", "nvidia-smi"});
  has(message({.init = CudaResult::no_device}), {"no card", "nvidia-smi"});
  has(message({.init = CudaResult::stub_library}), {"cuInit", "STUB", "LD_LIBRARY_PATH"});
  has(message({.init = CudaResult::unknown}), {"cuInit", "nvidia_uvm"});
  const FakeCard old{.name = "GeForce GTX 980", .capability_major = 5, .capability_minor = 2}, good{};
  has(message({.cards = {old}}), {"GTX 980", "5.2", "6.1", "--device cpu"});
  has(message({.cards = {old, good}}), {"GTX 980", "--gpu", "1: GeForce GTX 1060 3GB"});
  CHECK(message({.cards = {old, good}}, 1) == "");
  has(message({.cards = {good, good}}, 2), {"--gpu 2", "0: GeForce", "1: GeForce"});
  has(message({}, -1), {"--gpu -1"});
  setenv("CUDA_VISIBLE_DEVICES", "7", 1);
  has(message({.cards = {}}), {"no card", "CUDA_VISIBLE_DEVICES is \"7\""});
  has(message({.init = CudaResult::no_device}), {"CUDA_VISIBLE_DEVICES is \"7\""});
  has(message({}, 1), {"--gpu 1", "CUDA_VISIBLE_DEVICES is \"7\""});
  unsetenv("CUDA_VISIBLE_DEVICES");
}

TEST_CASE("machine code where the card and the driver take it, PTX otherwise, and the compiler's words where both are refused") {
  const auto runs_cubin = [](const FakeCudaOptions& options) {
    FakeCuda fake(options);
    const auto device = make_cuda_device(fake.driver(), with_code());
    CHECK(Adder(*device).run() == Adder::expected());
    CHECK(fake.errors() == kNoErrors);
    return device->runs_cubin();
  };
  const FakeCard turing{.name = "GeForce RTX 2060", .capability_major = 7, .capability_minor = 5};
  CHECK(runs_cubin({}));
  CHECK_FALSE(runs_cubin({.cards = {turing}}));
  CHECK_FALSE(runs_cubin({.takes_cubin = false}));
  FakeCuda fake({.driver_version = 9000, .takes_cubin = false, .takes_ptx = false});
  expect_error([&] { make_cuda_device(fake.driver(), with_code()); },
               {"cuModuleLoadDataEx", "Unsupported .version 6.0", "current version", "UNSUPPORTED_PTX_VERSION", "9.0", "newer driver"});
  CHECK(fake.alive() == "");
  CudaDeviceOptions without = with_code();
  without.code = {};
  expect_error([&] { make_cuda_device(fake.driver(), without); }, {"no kernels", "clang++-19"});
}
