#include "tests/support/ptx/memory.h"

#include <algorithm>
#include <stdexcept>

#include "tests/support/ptx/counters.h"

namespace leafcutter::ptx {

void GlobalMemory::insert(const std::string& name, const void* data, std::size_t bytes, bool writable) {
  const auto begin = reinterpret_cast<std::uint64_t>(data), end = begin + bytes;
  const auto after = std::find_if(regions_.begin(), regions_.end(), [&](const Region& region) { return region.end > begin; });
  if (after != regions_.end() && after->begin < end) throw std::runtime_error("buffer '" + name + "' overlaps '" + after->name + "'");
  const std::size_t sectors = bytes == 0 ? 0 : (end - 1) / kSectorBytes - begin / kSectorBytes + 1;
  regions_.insert(after, {name, begin, end, writable, std::vector<std::uint8_t>(sectors)});
}

Region* GlobalMemory::find(std::uint64_t address, std::uint64_t bytes) {
  const auto holds = [&](const Region& region) { return address >= region.begin && address < region.end && bytes <= region.end - address; };
  if (last_ < regions_.size() && holds(regions_[last_])) return &regions_[last_];
  const auto after = std::upper_bound(regions_.begin(), regions_.end(), address,
                                      [](std::uint64_t wanted, const Region& region) { return wanted < region.begin; });
  if (after == regions_.begin() || !holds(*(after - 1))) return nullptr;
  last_ = static_cast<std::size_t>(after - 1 - regions_.begin());
  return &regions_[last_];
}

void GlobalMemory::begin_launch() {
  for (Region& region : regions_) std::fill(region.touched.begin(), region.touched.end(), std::uint8_t{0});
}

std::uint64_t GlobalMemory::read_sectors() const {
  std::uint64_t sectors = 0;
  for (const Region& region : regions_)
    sectors += static_cast<std::uint64_t>(
        std::count_if(region.touched.begin(), region.touched.end(), [](std::uint8_t touched) { return (touched & kRead) != 0; }));
  return sectors;
}

std::uint64_t GlobalMemory::written_sectors() const {
  std::uint64_t sectors = 0;
  for (const Region& region : regions_)
    sectors += static_cast<std::uint64_t>(
        std::count_if(region.touched.begin(), region.touched.end(), [](std::uint8_t touched) { return (touched & kWritten) != 0; }));
  return sectors;
}

}  // namespace leafcutter::ptx
