// Buffers of one step on a device, the lists that attention reads, and how many bytes they take before they are made.
#pragma once

#include <cstdint>
#include <vector>

#include "compress/model_description.h"
#include "offload/device_memory.h"
#include "offload/step_program.h"
#include "runtime/block_executor.h"
#include "runtime/workspace.h"

namespace leafcutter::runtime {

struct DeviceWorkspaceShape {
  std::uint64_t rows = 0;        // of a pass, all at once
  std::uint64_t logit_rows = 0;  // that may want logits
  std::uint64_t sequences = 1;
  std::uint64_t max_positions = 0;  // of a sequence
};

// Names and bytes of what DeviceWorkspace will allocate, each in one piece.
std::vector<offload::BufferNeed> device_workspace_needs(const compress::ModelDescription& model, const DeviceWorkspaceShape& shape);

class DeviceWorkspace {
 public:
  // Throws DeviceError(out_of_memory).
  DeviceWorkspace(offload::Device& device, const compress::ModelDescription& model, const DeviceWorkspaceShape& shape);

  offload::DeviceAddress rows(RowBuffer name) const { return rows_[static_cast<std::size_t>(name)]; }
  offload::DeviceAddress cos, sin;  // [rows][head_dim / 2]
  offload::DeviceAddress groups;    // int8 rows of the widest input
  offload::DeviceAddress best;      // [logit rows][kMostBest] of kernels::Ranked

  // The lists of a step: made in host memory, copied as one piece.
  struct Lists {
    std::size_t table = 0;      // [rows] of offload::DeviceAttentionRow
    std::size_t row_slots = 0;  // [rows] of u32: where keys of these rows go
    std::size_t slots = 0;      // [sequences][max_positions] of u32
    std::size_t segments = 0;   // [sequences][max_positions] of u8
    std::size_t bytes = 0;
  };
  Lists lists;  // offsets
  offload::DeviceAddress lists_on_device;
  offload::StagingBuffer lists_in_host;

 private:
  offload::DeviceBuffer memory_, lists_memory_;
  offload::DeviceAddress rows_[10];
};

}  // namespace leafcutter::runtime
