#include "tools/rates_cache.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "kernels/isa.h"
#include "tools/model_source.h"

namespace leafcutter::tools {
namespace {

using nlohmann::json;

constexpr int kVersion = 5;  // of what is measured, and how
constexpr std::uintmax_t kMostBytes = 1 << 20;

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

std::string cache_path() { return (std::filesystem::path(cache_folder()) / "rates.json").string(); }

json read_cache() {
  std::error_code ignored;
  const auto bytes = std::filesystem::file_size(cache_path(), ignored);
  if (ignored || bytes > kMostBytes) return json::object();
  std::ifstream in(cache_path());
  json all = json::parse(std::string{std::istreambuf_iterator<char>(in), {}}, nullptr, false);
  return all.is_object() ? all : json::object();
}

void write_cache(const json& all) {
  std::error_code ignored;
  std::filesystem::create_directories(cache_folder(), ignored);
  try {
    const std::string text = all.dump(1) + "\n";
    const auto file = create_file(cache_path());
    file->write_at(0, std::as_bytes(std::span(text)));
    file->commit();
  } catch (const Error&) {  // then it is measured again next time
  }
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

double positive(const json& object, const char* name) {
  const auto found = object.find(name);
  const double value = found != object.end() && found->is_number() ? found->get<double>() : 0;
  return std::isfinite(value) ? value : 0;
}

std::string product_key(const offload::ProductRates& product) {
  return fmt::format("layout {} k {}", static_cast<int>(product.layout), product.k);
}

bool take_machine(const json& kept, const std::vector<offload::ProductRates>& products, offload::HostRates& rates) {
  if (!kept.is_object() || !kept.contains("products") || !kept["products"].is_object()) return false;
  for (const Field& field : kMachineFields)
    if ((rates.*field.value = positive(kept, field.name)) <= 0) return false;
  for (const offload::ProductRates& wanted : products) {
    const auto product = kept["products"].find(product_key(wanted));
    if (product == kept["products"].end() || !product->is_object()) return false;
    const offload::ProductRates one{wanted.layout, wanted.k, positive(*product, "one_row_gb_s"), positive(*product, "many_rows_gop_s")};
    if (one.one_row_gb_s <= 0 || one.many_rows_gop_s <= 0) return false;
    rates.products.push_back(one);
  }
  return true;
}

// Of a cache that anything may have been written into.
std::optional<offload::ReadShape> shape_of(const json& kept) {
  if (!kept.is_object()) return std::nullopt;
  const double bytes = positive(kept, "read_bytes"), in_flight = positive(kept, "reads_in_flight");
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

}  // namespace

CachedRates host_rates(const RatesRequest& request) {
  json all = request.measure ? json::object() : read_cache();
  const std::string machine = machine_key(request.threads), disk = request.disk_file.empty() ? std::string() : disk_key(request.disk_file);
  CachedRates result;
  bool known = take_machine(all.value(machine, json()), request.products, result.rates);
  if (!disk.empty()) {
    const json kept = all.value(disk, json());
    result.rates.disk_gb_s = kept.is_object() ? positive(kept, "disk_gb_s") : 0;
    result.rates.read_latency_s = kept.is_object() ? positive(kept, "read_latency_s") : 0;
    result.rates.lookup_s = kept.is_object() ? positive(kept, "lookup_s") : 0;
    const std::optional<offload::ReadShape> reads = shape_of(kept);
    result.rates.reads = reads.value_or(offload::ReadShape{});
    known = known && result.rates.disk_gb_s > 0 && reads;
  }
  if (known) {
    if (disk.empty()) offload::assume_disk(result.rates);
    result.from_cache = true;
    return result;
  }
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
