// The plan of a model whose steps run on a device.
#pragma once

#include <optional>

#include "offload/card_prediction.h"
#include "offload/device_plan.h"
#include "runtime/device_workspace.h"
#include "runtime/model.h"

namespace leafcutter::runtime {

struct DeviceModelPlan {
  PlannedModel model;                                 // its plan is the host's part
  offload::DevicePlan placement;                      // all tiers
  std::optional<offload::CardPrediction> prediction;  // that it was chosen by; none without rates
  DeviceWorkspaceShape shape;
  std::vector<offload::BufferNeed> device_buffers;  // but for weights and KV cache
};

// For options.device. All rows of a pass are one block, so that a chunk's copy is used once a pass. Throws what plan_model and offload::place throw, Error(unsupported) for f32_activations.
DeviceModelPlan plan_on_device(const compress::LeafIndex& index, const LoadOptions& options, const offload::HostMemory& host,
                               std::uint64_t already_charged, const Tokenizer* tokenizer);

}  // namespace leafcutter::runtime
