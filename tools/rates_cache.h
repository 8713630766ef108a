// The rates of this machine that predictions start from: measured once, kept in the cache folder.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "offload/prediction.h"

namespace leafcutter::tools {

struct RatesRequest {
  std::size_t threads = 1;
  std::string disk_file;                        // the disk under it is measured; empty: a rate is assumed
  std::vector<offload::ProductRates> products;  // offload::products_of
  bool measure = false;                         // --measure: again, whatever the cache holds
};

struct CachedRates {
  offload::HostRates rates;
  bool from_cache = false;
};

// The cache is per processor, number of threads, instruction set and disk; one that cannot be read or written is as if there were none. What was measured while others used
// the processors is not kept.
CachedRates host_rates(const RatesRequest& request);

// The same of the cache alone: measures nothing. None: something of it is not there.
std::optional<offload::HostRates> known_host_rates(const RatesRequest& request);

// How the disk under this file wants to be read, if that was measured before. Measures nothing.
std::optional<offload::ReadShape> known_reads(const std::string& file);

}  // namespace leafcutter::tools
