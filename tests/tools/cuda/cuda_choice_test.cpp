// Which card a command takes and whether cuBLAS, over a fake driver and a fake cuBLAS, with a cache folder of the test's own.
#include "tools/cuda_choice.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "base/error.h"
#include "tests/support/expect_error.h"
#include "tests/support/fake_cublas.h"
#include "tests/support/temporary_folder.h"
#include "tools/card_cache.h"

using namespace leafcutter;
using namespace leafcutter::tools;
using offload::test::FakeCublas;
using offload::test::FakeCuda;
using offload::test::FakeCudaOptions;

namespace {

constexpr const char* kCacheVariable = "LEAFCUTTER_CACHE";

struct Opened {
  bool has_cublas = false;
  std::string said;
};

struct Machine {
  test::TemporaryFolder folder;
  FakeCuda cuda;
  FakeCublas cublas{cuda};
  bool has_cublas = true;

  explicit Machine(const FakeCudaOptions& options = {}) : cuda(options) { setenv(kCacheVariable, folder.file("cache").c_str(), 1); }
  ~Machine() { unsetenv(kCacheVariable); }

  Opened open(CublasWish wish, std::uint64_t memory = 0) {
    CudaLibraries libraries;
    libraries.driver = [this] { return cuda.driver(); };
    libraries.cublas = [this] { return has_cublas ? cublas.library() : offload::load_cublas("libno_such_cublas.so.12"); };
    CudaChoice choice;
    choice.cublas = wish;
    if (memory > 0) choice.memory = SizeText{.bytes = memory};
    Opened opened;
    const auto device =
        open_cuda_device(choice, [&](const std::string& text) { opened.said += text + "\n"; }, libraries, {".version 6.0\n", {}});
    opened.has_cublas = device->cublas_version() > 0;
    return opened;
  }
  void keep(const CublasFinding& finding) {
    const offload::CudaCards cards = offload::list_cuda_cards(cuda.driver());
    keep_cublas_finding(cards.cards.at(0), cards.driver_version, finding);
  }
};

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("cuBLAS is left alone unless it is asked for, and an error where it is but is not there") {
  Machine machine;
  machine.keep({FakeCublas::kVersion, true});
  CHECK_FALSE(machine.open(CublasWish::off).has_cublas);
  CHECK(machine.open(CublasWish::off).said.empty());
  const Opened on = machine.open(CublasWish::on);
  CHECK(on.has_cublas);
  CHECK(has(on.said, "cuBLAS 12.9.1"));
  machine.has_cublas = false;
  test::expect_error([&] { machine.open(CublasWish::on); }, {"no cuBLAS 12", "--cublas off"});
}

TEST_CASE("auto takes cuBLAS only where the self-test found it worth it, on this card, driver and version, and says what it does") {
  Machine machine;
  const Opened before = machine.open(CublasWish::where_faster);
  CHECK_FALSE(before.has_cublas);
  CHECK(has(before.said, "has not compared"));
  CHECK(machine.cublas.calls().empty());
  machine.keep({FakeCublas::kVersion, false});
  const Opened slower = machine.open(CublasWish::where_faster);
  CHECK_FALSE(slower.has_cublas);
  CHECK(has(slower.said, "no better"));
  machine.keep({FakeCublas::kVersion, true});
  CHECK(machine.open(CublasWish::where_faster).has_cublas);
  machine.keep({FakeCublas::kVersion - 1, true});
  const Opened other = machine.open(CublasWish::where_faster);
  CHECK_FALSE(other.has_cublas);
  CHECK(has(other.said, "compared 12.9.0"));
  machine.keep({FakeCublas::kVersion, true});
  machine.has_cublas = false;
  const Opened gone = machine.open(CublasWish::where_faster);
  CHECK_FALSE(gone.has_cublas);
  CHECK(has(gone.said, "libno_such_cublas"));
  CHECK(machine.cuda.alive() == "");
  CHECK(machine.cublas.handles() == 0);
}

TEST_CASE("what was found holds for one card in one slot with one driver") {
  Machine machine;
  machine.keep({FakeCublas::kVersion, true});
  offload::CudaCards cards = offload::list_cuda_cards(machine.cuda.driver());
  offload::CudaCard card = cards.cards.at(0);
  REQUIRE(cublas_finding(card, cards.driver_version));
  CHECK(cublas_finding(card, cards.driver_version)->version == FakeCublas::kVersion);
  CHECK_FALSE(cublas_finding(card, cards.driver_version + 10));
  card.pci_bus++;
  CHECK_FALSE(cublas_finding(card, cards.driver_version));
}

TEST_CASE("where cuBLAS is only welcome, a card that it does not fit on is used without") {
  Machine machine;
  constexpr std::uint64_t kLittle = 100 << 20;
  const Opened opened = machine.open(CublasWish::where_present, kLittle);
  CHECK_FALSE(opened.has_cublas);
  CHECK(has(opened.said, "context, code and cuBLAS take"));
  CHECK(machine.open(CublasWish::where_present).has_cublas);
  test::expect_error([&] { machine.open(CublasWish::on, kLittle); }, {"context, code and cuBLAS take", "--cublas off"});
  machine.cublas.fail_call(0, offload::CublasStatus::arch_mismatch);
  CHECK(has(machine.open(CublasWish::where_present).said, "cublasCreate_v2"));
  CHECK(machine.cuda.alive() == "");
}
