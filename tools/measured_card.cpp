#include "tools/measured_card.h"

#include <algorithm>

#include "offload/device_rates.h"
#include "offload/host_memory.h"
#include "tools/card_cache.h"

namespace leafcutter::tools {
namespace {

constexpr std::uint64_t kProbeShare = 8;  // of the card's memory at most

offload::MeasuredDevice rates_of_device(offload::CudaDevice& device) {
  if (const auto known = card_rates(device.card(), device.driver_version())) return *known;
  offload::DeviceProbe probe;
  probe.bytes = static_cast<std::size_t>(std::min<std::uint64_t>(probe.bytes, device.properties().memory_bytes / kProbeShare));
  probe.multiprocessors = device.card().multiprocessors;
  const offload::MeasuredDevice measured = measure_device_rates(device, probe);
  keep_card_rates(device.card(), device.driver_version(), measured);
  return measured;
}

}  // namespace

std::optional<offload::DeviceRates> rates_of_this_card(offload::CudaDevice& device, const RatesRequest& host, bool may_measure_host,
                                                       const std::function<void(const std::string&)>& note) {
  std::optional<offload::HostRates> known = known_host_rates(host);
  if (!known && may_measure_host) {
    known = host_rates(host).rates;
    offload::restart_peak();
  }
  if (!known) {
    note("note: what the card has no room for is copied to it: `plan MODEL` measures this machine once, then the host computes its share");
    return std::nullopt;
  }
  return offload::DeviceRates{card_of(rates_of_device(device)), card_host_of(*known)};
}

}  // namespace leafcutter::tools
