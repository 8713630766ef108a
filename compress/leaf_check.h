// Everything about an index that must hold before its numbers are used.
#pragma once

#include <cstdint>
#include <string>

#include "compress/leaf_index.h"

namespace leafcutter::compress {

// Compares modules, tensors, chunks and tiles with the description (validated before) and with each other; chunks must fill the file from its second page to `index_offset`.
// After it no number of the index needs another look. O(n). Throws Error(bad_file | unsupported) naming `file`, the entry, the field, what was found and what was expected.
void check_index(const LeafIndex& index, std::uint64_t index_offset, const std::string& file);

// How a tensor is called in messages: "layer 3 attention_q", "output_norm".
std::string tensor_place(TensorRole role, std::uint32_t layer);

// Bytes of a tensor in its module's blob. `layout` is known; rows and k are within the limits of a model.
std::uint64_t tensor_bytes(kernels::Layout layout, std::uint64_t rows, std::uint64_t k);

}  // namespace leafcutter::compress
