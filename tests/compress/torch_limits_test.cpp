// The largest torch checkpoints that the limits allow, sound or not, take less than 64 MiB and a second.
#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdlib>
#include <ctime>
#include <fstream>

#include "base/error.h"
#include "compress/torch_checkpoint.h"
#include "tests/compress/torch_bytes.h"
#include "tests/support/sanitized.h"
#include "tests/support/temporary_folder.h"

using namespace leafcutter;
using namespace leafcutter::compress;
using namespace leafcutter::compress::test;

namespace {

using leafcutter::test::kSanitized;

constexpr const char* kVariable = "LEAFCUTTER_READ_TORCH";

std::uint64_t status_bytes(const std::string& field) {
  std::ifstream in("/proc/self/status");
  for (std::string word; in >> word;)
    if (word == field) {
      std::uint64_t kib = 0;
      in >> kib;
      return kib * 1024;
    }
  return 0;
}

std::string repeated(const std::string& part, std::size_t count) {
  std::string all;
  for (std::size_t i = 0; i < count; i++) all += part;
  return all;
}

std::string archive_of(const std::string& opcodes) { return torch_archive(PickleBytes().op(opcodes).stop(), {}).file(); }

std::string many_tensors(std::size_t count) {
  std::vector<TorchBytesTensor> tensors;
  for (std::size_t i = 0; i < count; i++)
    tensors.push_back({.name = "layer." + std::to_string(i), .key = "0", .values = 4, .shape = {2, 2}, .strides = {2, 1}});
  return torch_archive(state_dict_pickle(tensors), {{"0", std::string(16, 'x')}}).file();
}

std::string many_entries(std::size_t count) {
  ZipBytes zip = torch_archive(PickleBytes().op("}").stop(), {});
  for (std::size_t i = 0; i < count; i++) zip.add("archive/data/" + std::string(55, 'n') + std::to_string(10'000'000 + i), "");
  return zip.file();
}

struct Large {
  std::string name;
  std::string bytes;
  bool accepted;
};

}  // namespace

TEST_CASE("read the checkpoint named by LEAFCUTTER_READ_TORCH" * doctest::skip()) {
  const char* path = std::getenv(kVariable);
  if (!path) return;
  const std::uint64_t before = status_bytes("VmRSS:");
  const std::clock_t start = std::clock();  // the processor's time: what others do beside the test does not count
  bool accepted = true;
  try {
    const auto file = open_file(path);
    read_torch_checkpoint(*file);
  } catch (const Error&) { accepted = false; }
  const double spent = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  std::ofstream(std::string(path) + ".reading") << status_bytes("VmHWM:") - before << ' ' << spent << ' ' << accepted;
}

TEST_CASE("the largest checkpoints that the limits allow are read or refused in 64 MiB and a second") {
  const leafcutter::test::TemporaryFolder folder;
  const std::string path = folder.file("large.pt");
  const std::string zero(1, '\0');
  const Large kLarge[] = {
      {"9000 tensors", many_tensors(9000), true},
      {"65,000 entries", many_entries(65'000), true},
      {"400,000 lists", archive_of("(" + std::string(399'000, ']') + "t"), false},
      {"more lists than are allowed", archive_of(std::string(4'000'000, ']')), false},
      {"400,000 dicts with an item each", archive_of("(Nq" + zero + repeated("}h" + zero + "h" + zero + "s", 399'000) + "t"), false},
      {"two million references", archive_of("(Nq" + zero + repeated("h" + zero, 2'000'000) + "t"), false},
      {"a list of two million references", archive_of("](Nq" + zero + repeated("h" + zero, 2'000'000) + "e"), false},
      {"800,000 places of the memo", archive_of("N" + repeated("r" + raw_bytes(399'999), 800'000)), false},
      {"a name to look up a million times", archive_of("(" + repeated("cos\nsystem\n", 300'000) + "t"), false},
  };
  for (const Large& large : kLarge) {
    CAPTURE(large.name);
    std::ofstream(path, std::ios::binary) << large.bytes;
    // In a program of its own, so that what this one has touched before does not count.
    const std::string command = std::string(kVariable) + "='" + path + "' /proc/" + std::to_string(::getpid()) +
                                "/exe --test-case='read the checkpoint named by*' --no-skip > /dev/null 2>&1";
    REQUIRE(std::system(command.c_str()) == 0);
    std::uint64_t bytes = 0;
    double seconds = 0;
    bool accepted = false;
    std::ifstream(path + ".reading") >> bytes >> seconds >> accepted;
    MESSAGE((large.name + ": ") << bytes / 1024 << " KiB, " << seconds << " s");
    CHECK(accepted == large.accepted);
    if (kSanitized) continue;  // shadow memory and checks are not ours
    CHECK(bytes < (std::uint64_t{64} << 20));
    CHECK(seconds < 1);
  }
}
