// What was measured on the cards of this machine, by `selftest` or before a model was loaded, kept in the cache folder: by card, the slot it is in, its driver.
#pragma once

#include <optional>
#include <string>

#include "offload/cublas_comparison.h"
#include "offload/device_rates.h"

namespace leafcutter::tools {

// Products of weights in f16 by cuBLAS against our own.
struct CublasFinding {
  int version = 0;  // of cuBLAS
  bool is_worth_it = false;
};

// none: it was not compared on this card with this driver.
std::optional<CublasFinding> cublas_finding(const offload::CudaCard& card, int driver_version);
void keep_cublas_finding(const offload::CudaCard& card, int driver_version, const CublasFinding& finding);

// What the card does in a second, for plans. none: as above.
std::optional<offload::MeasuredDevice> card_rates(const offload::CudaCard& card, int driver_version);
void keep_card_rates(const offload::CudaCard& card, int driver_version, const offload::MeasuredDevice& rates);

}  // namespace leafcutter::tools
