#include "offload/step_products.h"

#include <algorithm>

#include "compress/strip_walk.h"

namespace leafcutter::offload {

using compress::TensorRole;

std::optional<Product> product_of(TensorRole role, bool tied_head) {
  switch (role) {
    case TensorRole::attention_q:
    case TensorRole::attention_k:
    case TensorRole::attention_v:
      return Product::qkv;
    case TensorRole::attention_out:
      return Product::out;
    case TensorRole::feed_forward_gate:
    case TensorRole::feed_forward_up:
      return Product::gate_up;
    case TensorRole::feed_forward_down:
      return Product::down;
    case TensorRole::head:
      return Product::head;
    case TensorRole::embedding:
      return tied_head ? std::optional(Product::head) : std::nullopt;
    default:
      return std::nullopt;
  }
}

Product product_of(const compress::LeafIndex& index, const compress::ChunkEntry& chunk) {
  std::array<std::uint64_t, kProducts> bytes{};
  for (const compress::StripRange& range : compress::strips_of_chunk(index, chunk)) {
    const compress::TensorEntry& tensor = index.tensors[range.tensor];
    if (const auto product = product_of(tensor.role, index.model.tied_head))
      bytes[static_cast<std::size_t>(*product)] += (range.end - range.begin) * tensor.strip_bytes();
  }
  const auto most = std::max_element(bytes.begin(), bytes.end());
  return *most == 0 ? Product::head : static_cast<Product>(most - bytes.begin());
}

}  // namespace leafcutter::offload
