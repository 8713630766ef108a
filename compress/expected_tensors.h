// Which tensors a model has, from its description alone: the list that importers fill, writers lay out and readers compare with.
#pragma once

#include <cstdint>
#include <vector>

#include "compress/model_description.h"
#include "compress/tensor_role.h"

namespace leafcutter::compress {

struct ExpectedTensor {
  TensorRole role{};
  std::uint32_t layer = 0;
  std::uint64_t rows = 0, k = 0;  // a vector has rows 1
  bool optional = false;          // biases: a file has them or not
};

// In the order of a .leaf: embedding tables; per layer attention, then feed-forward matrices; the head (unless tied); then the vectors, layer by layer, those of no layer last.
// `model` is validated. At most kMaxTensors.
std::vector<ExpectedTensor> expected_tensors(const ModelDescription& model);

// Rises along that order.
std::uint64_t tensor_order(TensorRole role, std::uint32_t layer);

}  // namespace leafcutter::compress
