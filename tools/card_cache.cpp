#include "tools/card_cache.h"

#include <fmt/format.h>

#include <algorithm>

#include "tools/cache_file.h"

namespace leafcutter::tools {
namespace {

using nlohmann::json;

constexpr int kCardVersion = 1;  // of what is kept, and how it is found

std::string card_key(const offload::CudaCard& card, int driver_version) {
  return fmt::format("v{} card {} {} bytes pci {:04x}:{:02x}:{:02x} driver {}", kCardVersion, card.name, card.memory_bytes, card.pci_domain,
                     card.pci_bus, card.pci_device, driver_version);
}

json kept_of(const json& all, const std::string& key) {
  const auto found = all.find(key);
  return found != all.end() && found->is_object() ? *found : json::object();
}

void keep(const std::string& key, const json& more) {
  json all = read_cache();
  json kept = kept_of(all, key);
  kept.update(more);
  all[key] = kept;
  write_cache(all);
}

// One table of what is kept of the rates: the same for reading and writing.
struct RateField {
  const char* name;
  double offload::MeasuredDevice::*value;
};
constexpr RateField kRateFields[] = {{"link_bytes_per_s", &offload::MeasuredDevice::link_bytes_per_s},
                                     {"link_latency_s", &offload::MeasuredDevice::link_latency_s},
                                     {"weights_bytes_per_s", &offload::MeasuredDevice::weights_bytes_per_s},
                                     {"int8_ops_per_s", &offload::MeasuredDevice::int8_ops_per_s},
                                     {"f32_ops_per_s", &offload::MeasuredDevice::f32_ops_per_s},
                                     {"clock_hz", &offload::MeasuredDevice::clock_hz},
                                     {"launch_s", &offload::MeasuredDevice::launch_s}};

}  // namespace

std::optional<CublasFinding> cublas_finding(const offload::CudaCard& card, int driver_version) {
  const json kept = kept_of(read_cache(), card_key(card, driver_version));
  const auto version = static_cast<int>(std::min(positive_in(kept, "cublas_version"), 1e6));
  const auto worth = kept.find("cublas_is_worth_it");
  if (version == 0 || worth == kept.end() || !worth->is_boolean()) return std::nullopt;
  return CublasFinding{version, worth->get<bool>()};
}

void keep_cublas_finding(const offload::CudaCard& card, int driver_version, const CublasFinding& finding) {
  keep(card_key(card, driver_version), {{"cublas_version", finding.version}, {"cublas_is_worth_it", finding.is_worth_it}});
}

std::optional<offload::MeasuredDevice> card_rates(const offload::CudaCard& card, int driver_version) {
  const json kept = kept_of(read_cache(), card_key(card, driver_version));
  offload::MeasuredDevice rates;
  for (const RateField& field : kRateFields)
    if ((rates.*field.value = positive_in(kept, field.name)) <= 0) return std::nullopt;
  rates.copy_engines = static_cast<std::size_t>(std::clamp(card.copy_engines, 1, 2));
  rates.multiprocessors = card.multiprocessors;
  return rates;
}

void keep_card_rates(const offload::CudaCard& card, int driver_version, const offload::MeasuredDevice& rates) {
  json more;
  for (const RateField& field : kRateFields) more[field.name] = rates.*field.value;
  keep(card_key(card, driver_version), more);
}

}  // namespace leafcutter::tools
