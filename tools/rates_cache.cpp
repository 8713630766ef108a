#include "tools/rates_cache.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "kernels/isa.h"
#include "tools/cache_file.h"

namespace leafcutter::tools {
namespace {

using nlohmann::json;

constexpr int kVersion = 6;  // of what is measured, and how

std::string processor_name() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);)
    if (line.starts_with("model name")) return line.substr(std::min(line.size(), line.find(':') + 2));
  return "unknown processor";
}

std::string machine_key(std::size_t threads) {
  return fmt::format("v{} {} {} threads {}", kVersion, processor_name(), threads, kernels::isa_name(kernels::default_isa()));
}

std::string disk_key(const std::string& file) {
  struct stat info;
  return ::stat(file.c_str(), &info) == 0 ? fmt::format("v{} device {}", kVersion, static_cast<std::uint64_t>(info.st_dev)) : std::string();
}

// One table of the fields that are kept: the same for reading and writing.
struct Field {
  const char* name;
  double offload::HostRates::*value;
};
constexpr Field kMachineFields[] = {{"memory_gb_s", &offload::HostRates::memory_gb_s},
                                    {"attention_gop_s", &offload::HostRates::attention_gop_s},
                                    {"attention_one_row_gop_s", &offload::HostRates::attention_one_row_gop_s},
                                    {"meeting_s", &offload::HostRates::meeting_s},
                                    {"check_gb_s", &offload::HostRates::check_gb_s},
                                    {"decode_gb_s", &offload::HostRates::decode_gb_s},
                                    {"compute_beside_check", &offload::HostRates::compute_beside_check},
                                    {"check_beside_compute", &offload::HostRates::check_beside_compute}};

std::string product_key(const offload::ProductRates& product) {
  return fmt::format("layout {} k {}", static_cast<int>(product.layout), product.k);
}

bool take_machine(const json& kept, const std::vector<offload::ProductRates>& products, offload::HostRates& rates) {
  if (!kept.is_object() || !kept.contains("products") || !kept["products"].is_object()) return false;
  for (const Field& field : kMachineFields)
    if ((rates.*field.value = positive_in(kept, field.name)) <= 0) return false;
  for (const offload::ProductRates& wanted : products) {
    const auto product = kept["products"].find(product_key(wanted));
    if (product == kept["products"].end() || !product->is_object()) return false;
    const offload::ProductRates one{wanted.layout, wanted.k, positive_in(*product, "one_row_gb_s"),
                                    positive_in(*product, "many_rows_gop_s")};
    if (one.one_row_gb_s <= 0 || one.many_rows_gop_s <= 0) return false;
    rates.products.push_back(one);
  }
  return true;
}

// Of a cache that anything may have been written into.
std::optional<offload::ReadShape> shape_of(const json& kept) {
  if (!kept.is_object()) return std::nullopt;
  const double bytes = positive_in(kept, "read_bytes"), in_flight = positive_in(kept, "reads_in_flight");
  if (bytes < offload::kLeastRead || bytes > offload::kMostRead || in_flight < 1 || in_flight > offload::kMostReadsInFlight)
    return std::nullopt;
  return offload::ReadShape{static_cast<std::size_t>(bytes) / offload::kLeastRead * offload::kLeastRead,
                            static_cast<std::size_t>(in_flight)};
}

json machine_json(const offload::HostRates& rates, json kept) {
  if (!kept.is_object()) kept = json::object();
  for (const Field& field : kMachineFields) kept[field.name] = rates.*field.value;
  if (!kept.contains("products") || !kept["products"].is_object()) kept["products"] = json::object();
  for (const offload::ProductRates& product : rates.products)
    kept["products"][product_key(product)] = {{"one_row_gb_s", product.one_row_gb_s}, {"many_rows_gop_s", product.many_rows_gop_s}};
  return kept;
}

std::string disk_of(const RatesRequest& request) { return request.disk_file.empty() ? std::string() : disk_key(request.disk_file); }

std::optional<offload::HostRates> rates_in(const json& all, const RatesRequest& request) {
  offload::HostRates rates;
  bool known = take_machine(all.value(machine_key(request.threads), json()), request.products, rates);
  const std::string disk = disk_of(request);
  if (disk.empty()) {
    offload::assume_disk(rates);
  } else {
    const json kept = all.value(disk, json());
    rates.disk_gb_s = kept.is_object() ? positive_in(kept, "disk_gb_s") : 0;
    rates.read_latency_s = kept.is_object() ? positive_in(kept, "read_latency_s") : 0;
    rates.lookup_s = kept.is_object() ? positive_in(kept, "lookup_s") : 0;
    const std::optional<offload::ReadShape> reads = shape_of(kept);
    rates.reads = reads.value_or(offload::ReadShape{});
    known = known && rates.disk_gb_s > 0 && reads;
  }
  return known ? std::optional(rates) : std::nullopt;
}

}  // namespace

std::optional<offload::HostRates> known_host_rates(const RatesRequest& request) { return rates_in(read_cache(), request); }

CachedRates host_rates(const RatesRequest& request) {
  json all = request.measure ? json::object() : read_cache();
  const std::string machine = machine_key(request.threads), disk = disk_of(request);
  CachedRates result;
  if (const auto known = rates_in(all, request)) return {*known, true};
  result.rates = offload::measure_host_rates(request.threads, request.disk_file, request.products);
  if (result.rates.disturbed) return result;  // next time it may be quiet
  if (request.measure) all = read_cache();
  all[machine] = machine_json(result.rates, all.value(machine, json()));
  if (!disk.empty() && !result.rates.disk_assumed)
    all[disk] = {{"disk_gb_s", result.rates.disk_gb_s},
                 {"read_latency_s", result.rates.read_latency_s},
                 {"lookup_s", result.rates.lookup_s},
                 {"read_bytes", result.rates.reads.bytes},
                 {"reads_in_flight", result.rates.reads.in_flight}};
  write_cache(all);
  return result;
}

std::optional<offload::ReadShape> known_reads(const std::string& file) {
  const std::string disk = disk_key(file);
  return disk.empty() ? std::nullopt : shape_of(read_cache().value(disk, json()));
}

}  // namespace leafcutter::tools
