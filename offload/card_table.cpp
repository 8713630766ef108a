#include "offload/card_table.h"

#include "base/error.h"

namespace leafcutter::offload {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20, kGiB = std::uint64_t{1} << 30;

// PCIe 3.0 x16 has 15.75 GB/s. 11.4 GB/s is what BMInf's two published figures for a GTX 1060 imply independently of each other (docs/cards.md): copies of whole layers from pinned memory.
// PCIe 4.0 is taken to reach the same share of twice that, in a board that has it.
constexpr double kPcie3x16 = 11.4e9, kPcie4x16 = 22.8e9;

// Assumed for all rows, in the order of what is commonly measured: 8 us for a copy that finds the link idle, from the call to the last byte; 3 us for a kernel behind another one, beyond its work.
constexpr double kLatency = 8e-6, kLaunch = 3e-6;

// 80 % of the peak of memory: a cycle-level simulation of a dp4a product on a card like the GTX 1060 reached 78 % (150 GB/s of 192). What kernels reach of arithmetic is in kernel_table.cpp.
constexpr double kDram = 0.8;

// Assumed: a display and the driver leave 93 % to programs, the context of one process takes 160 to 400 MiB of that.
constexpr double kFree = 0.93;

// Memory, multiprocessors and boost clocks as the data sheets have them (the GTX 1650 with GDDR5). Lanes of a multiprocessor that do dp4a: 128 on Pascal, 64 from Turing on (matrix units are not used). Two copy engines are assumed for all of them: they copy up and down at once.
constexpr Card kCards[] = {
    {"gtx1060-3gb", 61, 3 * kGiB, kFree, 160 * kMiB, 192e9, kDram, 9, 1.708e9, 128, kPcie3x16, kLatency, kLaunch, 2},
    {"gtx1060-6gb", 61, 6 * kGiB, kFree, 160 * kMiB, 192e9, kDram, 10, 1.708e9, 128, kPcie3x16, kLatency, kLaunch, 2},
    {"gtx1650-4gb", 75, 4 * kGiB, kFree, 160 * kMiB, 128e9, kDram, 14, 1.665e9, 64, kPcie3x16, kLatency, kLaunch, 2},
    {"gtx1080ti", 61, 11 * kGiB, kFree, 180 * kMiB, 484e9, kDram, 28, 1.582e9, 128, kPcie3x16, kLatency, kLaunch, 2},
    {"rtx2060-6gb", 75, 6 * kGiB, kFree, 180 * kMiB, 336e9, kDram, 30, 1.680e9, 64, kPcie3x16, kLatency, kLaunch, 2},
    {"rtx3060-12gb", 86, 12 * kGiB, kFree, 220 * kMiB, 360e9, kDram, 28, 1.777e9, 64, kPcie4x16, kLatency, kLaunch, 2},
    {"rtx4090", 89, 24 * kGiB, kFree, 400 * kMiB, 1008e9, kDram, 128, 2.520e9, 64, kPcie4x16, kLatency, kLaunch, 2},
};

// Usable memory is 80 % of the peak: two channels of DDR4-2666 have 42.7 GB/s, of DDR3-1600 25.6, of DDR5-5600 89.6; one channel of DDR4-2400 has 19.2. Processors are assumed: int8 with AVX2 on 6 cores (4 with DDR3
// and in the laptop, 8 with DDR5); attention of one row is taken to go at a tenth of the rate of many, as it was measured on a server's core (9 and 95 Gop/s, docs/benchmarks.md). Disks: NVMe over PCIe 3.0 x4, PCIe 4.0 x4 with DDR5, or SATA.
constexpr CardHost kHosts[] = {
    {"desktop-ddr4", 16 * kGiB, 2 * kGiB, 256 * kMiB, 34e9, 40e9, 500e9, 120e9, 12e9, 3.0e9, 80e-6, 10e9, 8e-6, 120e-6},
    {"desktop-ddr4-sata", 16 * kGiB, 2 * kGiB, 256 * kMiB, 34e9, 40e9, 500e9, 120e9, 12e9, 0.52e9, 100e-6, 10e9, 8e-6, 180e-6},
    {"desktop-ddr3-sata", 8 * kGiB, 2 * kGiB, 256 * kMiB, 20e9, 25e9, 250e9, 60e9, 6e9, 0.52e9, 100e-6, 7e9, 8e-6, 180e-6},
    {"laptop-ddr4", 8 * kGiB, 2 * kGiB, 256 * kMiB, 15e9, 25e9, 250e9, 60e9, 6e9, 2.0e9, 80e-6, 8e9, 8e-6, 120e-6},
    {"desktop-ddr5", 32 * kGiB, 2 * kGiB, 256 * kMiB, 70e9, 70e9, 1000e9, 200e9, 20e9, 5.0e9, 60e-6, 12e9, 8e-6, 100e-6},
};

template <class Row>
const Row& find_row(std::span<const Row> rows, const std::string& name, const std::string& flag) {
  std::string names;
  for (const Row& row : rows) {
    if (name == row.name) return row;
    names += (names.empty() ? "" : ", ") + std::string(row.name);
  }
  throw Error(ErrorKind::usage, flag + " " + name, "is not known", names);
}

}  // namespace

std::span<const Card> cards() { return kCards; }
std::span<const CardHost> card_hosts() { return kHosts; }
const Card& find_card(const std::string& name) { return find_row(cards(), name, "--card"); }
const CardHost& find_card_host(const std::string& name) { return find_row(card_hosts(), name, "--host"); }

}  // namespace leafcutter::offload
