#include "compress/strip_walk.h"

#include <algorithm>

namespace leafcutter::compress {

std::vector<StripRange> strips_of_chunk(const LeafIndex& index, const ChunkEntry& chunk) {
  const ModuleEntry& module = index.modules[chunk.module];
  const auto first = index.tensors.begin() + module.first_tensor, last = first + module.tensor_count;
  const std::uint64_t begin = chunk.module_offset, end = begin + chunk.raw_bytes;
  auto tensor = std::upper_bound(first, last, begin, [](std::uint64_t offset, const TensorEntry& t) { return offset < t.offset; }) - 1;
  std::vector<StripRange> out;
  for (; tensor != last && tensor->offset < end; ++tensor) {
    const auto number = static_cast<std::size_t>(tensor - index.tensors.begin());
    const std::uint64_t strip_bytes = tensor->strip_bytes();
    if (strip_bytes == 0) {  // plain: the tensor is one piece
      out.push_back({number, 0, 1, tensor->offset});
      continue;
    }
    const std::uint64_t from = std::max(begin, tensor->offset), to = std::min(end, tensor->offset + tensor->bytes);
    out.push_back({number, (from - tensor->offset) / strip_bytes, (to - tensor->offset) / strip_bytes, from});
  }
  return out;
}

std::uint64_t tile_number(const LeafIndex& index, std::size_t tensor, std::uint64_t strip) {
  for (std::size_t t = index.modules[index.tensors[tensor].module].first_tensor; t < tensor; t++) strip += index.tensors[t].strips();
  return strip;
}

std::uint64_t tile_count(const LeafIndex& index) {
  std::uint64_t tiles = 0;
  for (const TensorEntry& t : index.tensors)
    if (module_of(t.role) == ModuleKind::embedding) tiles += t.strips();
  return tiles;
}

}  // namespace leafcutter::compress
