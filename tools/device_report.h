// A plan over three tiers and what it was chosen by, as text: of `plan --card` and of a model that was loaded onto a device.
#pragma once

#include <cstdint>
#include <string>

#include "offload/card_prediction.h"

namespace leafcutter::tools {

// What is where, a line each.
std::string device_plan_text(const offload::DevicePlan& plan);

// A step and a pass of the chosen plan, lane by lane, and what every strategy would give. batch: rows of a step.
std::string device_prediction_text(const offload::CardPrediction& prediction, std::uint64_t batch);

}  // namespace leafcutter::tools
