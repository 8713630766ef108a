#include "compress/leaf_index.h"

#include <algorithm>

#include "compress/expected_tensors.h"

namespace leafcutter::compress {

const TensorEntry* LeafIndex::find(TensorRole role, std::uint32_t layer) const {
  const std::uint64_t wanted = tensor_order(role, layer);
  const auto found = std::lower_bound(tensors.begin(), tensors.end(), wanted,
                                      [](const TensorEntry& t, std::uint64_t order) { return tensor_order(t.role, t.layer) < order; });
  return found != tensors.end() && found->role == role && found->layer == layer ? &*found : nullptr;
}

}  // namespace leafcutter::compress
