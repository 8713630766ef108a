// The products of a layer that have the same input, and the head: what a stage of a step computes, on either side of the link.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "compress/leaf_index.h"

namespace leafcutter::offload {

enum class Product : std::uint8_t { qkv, out, gate_up, down, head };
constexpr std::size_t kProducts = 5;
// A number for each of them, 0 to 1.
using PerProduct = std::array<double, kProducts>;

// None: a tensor that is only looked up.
std::optional<Product> product_of(compress::TensorRole role, bool tied_head);
// Chunks cut modules anywhere: the product that most of the chunk's bytes belong to. The head for what belongs to none.
Product product_of(const compress::LeafIndex& index, const compress::ChunkEntry& chunk);

}  // namespace leafcutter::offload
