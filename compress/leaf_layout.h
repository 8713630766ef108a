// How tensors become modules and chunks: what the writer lays out, and the walk over strips that reader and writer share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "compress/leaf_index.h"
#include "compress/leaf_writer.h"

namespace leafcutter::compress {

struct LeafLayout {
  LeafIndex index;                          // file offsets as without a codec; hashes are 0
  std::vector<std::size_t> plan_of_tensor;  // index.tensors[i] came from tensors[plan_of_tensor[i]]
};

// See lay_out_leaf.
LeafLayout make_layout(const ModelDescription& model, std::span<const TensorPlan> tensors, std::uint64_t chunk_bytes);

}  // namespace leafcutter::compress
