// What plans for a card of this machine are chosen by: the rates of the card and of its host, from the cache or measured.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "offload/card_prediction.h"
#include "offload/cuda_device.h"
#include "tools/rates_cache.h"

namespace leafcutter::tools {

// The card's are measured where the cache has none, in a moment and in its own memory. Those of the host and its disk take 256 MiB and seconds: with `may_measure_host` they are measured where the cache has none, otherwise there
// are no rates then, and the note says what to do about it. Throws DeviceError.
std::optional<offload::DeviceRates> rates_of_this_card(offload::CudaDevice& device, const RatesRequest& host, bool may_measure_host,
                                                       const std::function<void(const std::string&)>& note);

}  // namespace leafcutter::tools
